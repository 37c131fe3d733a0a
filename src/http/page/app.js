
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const faults = document.documentElement.dataset.faults === "yes";
  const REDIAL_FLOOR_MS = 400, REDIAL_CEILING_MS = 5000, MINUTE_MS = 60000;
  let redial = REDIAL_FLOOR_MS, timer = 0, socket = null, status = null, updatedAt = 0, live = false;

  // --- small helpers -------------------------------------------------------------------------
  const el = (tag, props, ...children) => {
    const node = Object.assign(document.createElement(tag), props || {});
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const text = (node, value) => { value = String(value); if (node.textContent !== value) node.textContent = value; };
  const span = (ms) => {
    const s = Math.max(0, ms) / 1000;
    if (s < 1) return Math.round(s * 1000) + " ms";
    if (s < 10) return s.toFixed(1) + " s";
    if (s < 120) return Math.round(s) + " s";
    if (s < 7200) return Math.round(s / 60) + " min";
    if (s < 172800) return Math.round(s / 3600) + " h";
    return Math.round(s / 86400) + " days";
  };
  const plural = (n, one, more = one + "s") => n.toLocaleString("en") + " " + (n === 1 ? one : more);
  const bytes = (n) => (n / 1048576).toFixed(1) + " MiB";
  const TONES = {
    running: "good", connected: "good", fresh: "good", ready: "good",
    starting: "work", connecting: "work", handshaking: "work", refreshing: "work",
    draining: "warn", backoff: "warn", stopping: "warn", waiting: "warn", degraded: "warn", uncertain: "warn",
    failed: "bad", stopped: "bad", unresponsive: "bad", revoked: "bad", reauth_required: "bad", unreadable: "bad", startup_failed: "bad", unreachable: "bad", locked: "warn",
  };
  const tone = (word) => TONES[word] || "quiet";
  const state = (word) => {
    const node = el("span", { className: "state" }, word.replaceAll("_", " "));
    node.dataset.tone = tone(word);
    return node;
  };
  // Ages grow between two snapshots: an element keeps its value and its time.
  const ticking = new Set();
  const age = (node, ms, direction = 1, suffix = "") => {
    node.tick = () => text(node, ms === null || ms === undefined ? "–" : span(ms + direction * (Date.now() - updatedAt)) + suffix);
    ticking.add(node);
    node.tick();
    return node;
  };
  // Keyed rows stay where they are, so that they keep the focus and do not flash again: removed rows go first.
  const keyed = (parent, items, key, make, fill) => {
    const old = new Map([...parent.children].map((node) => [node.key, node])), wanted = new Set(items.map(key));
    old.forEach((node, name) => { if (!wanted.has(name)) node.remove(); });
    items.forEach((item, index) => {
      let node = old.get(key(item));
      if (!node) { node = make(item); node.key = key(item); }
      if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] || null);
      fill(node, item);
    });
  };
  const entries = (parent, list, nothing, make) =>
    parent.replaceChildren(...(list.length ? list.map((item) => el("div", { className: "entry" }, ...make(item))) : [el("p", { className: "none" }, nothing)]));
  const tags = (counts) => {
    const shown = Object.entries(counts).filter(([, n]) => n > 0);
    if (!shown.length) return el("p", { className: "quiet" }, "nothing yet");
    return el("ul", { className: "tags" }, ...shown.map(([word, n]) => el("li", null, el("span", null, word.replaceAll("_", " ") + " "), n.toLocaleString("en"))));
  };
  const counted = (title, counts) => el("div", { className: "counted" }, el("h3", null, title), tags(counts));
  const stale = (part) => part.stale_ms === null ? null : el("p", { className: "quiet" }, "its actor does not answer; these values are ", age(el("span"), part.stale_ms), " old");
  const problem = (sentence) => sentence ? el("p", { className: "problem" }, sentence) : null;

  // --- requests --------------------------------------------------------------------------------
  const send = async (path, body, done) => {
    const headers = { "content-type": "application/json" };
    const token = byId("token").value.trim();
    if (token) headers.authorization = "Bearer " + token;
    try {
      const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
      const result = await answer.json();
      if (answer.ok) return text(byId("result"), done(result));
      text(byId("result"), answer.status === 401 ? "A token is required for this." : result.detail);
      if (answer.status === 401) byId("token").focus();
    } catch {
      text(byId("result"), "The gateway did not answer.");
    }
  };
  byId("drain-begin").addEventListener("click", () => send("/api/gateway/drain", { action: "drain" },
    (result) => "Drain begun; " + plural(result.active_agents, "turn") + " in flight." + (result.durable === false ? " The marker could not be written: a restart ends the drain." : "")));
  byId("drain-cancel").addEventListener("click", () => send("/api/gateway/drain", { action: "cancel" },
    (result) => result.was_draining ? "Drain cancelled." : "There was no drain."));
  byId("drain-form").addEventListener("submit", (event) => event.preventDefault());
  byId("token").addEventListener("change", () => {
    // A socket that is still connecting sends the token once it is open.
    if (!live && !(socket && socket.readyState === WebSocket.CONNECTING)) dial();
  });

  // --- the parts of the page -----------------------------------------------------------------
  const showHead = () => {
    const chip = byId("state");
    text(chip, status.gateway_state.replaceAll("_", " "));
    chip.dataset.state = status.gateway_state;
    chip.dataset.tone = status.gateway_state === "running" && status.readiness !== "ready" ? "warn" : tone(status.gateway_state);
    text(byId("active"), status.active_agents);
    text(byId("active-word"), status.active_agents === 1 ? "turn in flight" : "turns in flight");
    text(byId("sessions"), status.active_sessions);
    text(byId("sessions-word"), status.active_sessions === 1 ? "session" : "sessions");
    text(byId("queued"), status.turns.queued + status.turns.held);
    document.title = (status.gateway_state === "running" ? "" : status.gateway_state + " · ") + "Caduceus";
  };
  const showDrain = () => {
    const drain = status.drain, line = byId("drain-state");
    if (drain.stopping) text(line, "The gateway is stopping.");
    else if (drain.draining) line.replaceChildren("Draining for ", age(el("span"), drain.age_ms), drain.principal ? ", requested by " + drain.principal + "." : ".");
    else if (drain.profiles.length) text(line, "Drained profiles: " + drain.profiles.join(", "));
    else text(line, status.not_ready ? "Not admitting turns: " + status.not_ready + "." : status.readiness === "degraded" ? "Admitting turns; degraded." : "Admitting turns.");
    byId("drain-begin").disabled = drain.draining;
    byId("drain-cancel").disabled = !drain.draining || drain.stopping;
  };
  const stopper = (turn) => {
    const stop = el("button", { type: "button", className: "stop" }, "Stop");
    stop.setAttribute("aria-label", "Stop turn " + turn.turn_id);
    stop.addEventListener("click", () => send("/api/turns/" + encodeURIComponent(turn.turn_id) + "/stop", {}, () => "Turn …" + turn.turn_id.slice(-8) + ": stop requested."));
    return stop;
  };
  const showTurns = () => {
    const turns = status.drain.turns;
    byId("turns-none").hidden = turns.length > 0;
    byId("turns").parentNode.hidden = !turns.length;
    keyed(byId("turns"), turns, (turn) => turn.turn_id,
      (turn) => el("tr", null, el("td", { className: "mono", title: turn.turn_id }, turn.turn_id.slice(-8)), el("td", null, turn.profile),
        el("td", { className: "clip wide mono", title: turn.session_key }, turn.session_key), el("td", { className: "num" }), el("td", { className: "acts" }, stopper(turn))),
      (row, turn) => age(row.children[3], turn.age_ms));
  };
  const walk = (node, depth = 0) => [{ node, depth }, ...node.children.flatMap((child) => walk(child, depth + 1))];
  const showTree = () => keyed(byId("tree"), walk(status.actors), ({ node }) => node.path,
    ({ node, depth }) => {
      const row = el("tr");
      row.dataset.actor = node.path || node.id;
      row.addEventListener("animationend", () => row.classList.remove("restarted"));
      const name = el("td", { className: "name", title: node.path + " on " + node.lane }, /^[0-9a-f-]{36}$/.test(node.id) ? "…" + node.id.slice(-8) : node.id);
      name.style.setProperty("--depth", depth);
      const acts = el("td", { className: "acts" });
      if (node.path) {
        const reset = el("button", { type: "button", className: "reset", hidden: true }, "Reset");
        reset.addEventListener("click", () => send(actorPath(node.path, "reset"), {}, () => node.path + ": restart count reset."));
        acts.append(reset);
      }
      if (faults && node.kind === "worker") {
        const crash = el("button", { type: "button", className: "crash" }, "Crash");
        crash.setAttribute("aria-label", "Crash " + node.path);
        crash.addEventListener("click", () => send(actorPath(node.path, "fault"), {}, () => node.path + ": crash requested."));
        acts.append(crash);
      }
      row.append(name, el("td"), el("td", { className: "num" }), el("td", { className: "num" }), el("td", { className: "num wide" }), el("td", { className: "wide quiet" }), acts);
      return row;
    },
    (row, { node }) => {
      const [, word, restarts, queue, beat, last, acts] = row.children;
      if (row.dataset.state !== node.state) word.replaceChildren(state(node.state));
      if (row.dataset.restarts !== undefined && Number(row.dataset.restarts) !== node.restarts_total) {
        row.classList.remove("restarted");
        void row.offsetWidth;
        row.classList.add("restarted");
      }
      row.dataset.state = node.state;
      row.dataset.restarts = node.restarts_total;
      text(restarts, node.restarts_total);
      text(queue, node.queue_depth);
      // As of the snapshot, without the time since: a later heartbeat may not be in a snapshot yet.
      text(beat, node.heartbeat_age_ms === null ? "–" : span(node.heartbeat_age_ms));
      text(last, node.next_restart_in_ms !== null ? "restarts in " + span(node.next_restart_in_ms) : node.last_exit ? node.last_exit.word : "");
      last.title = node.last_exit ? node.last_exit.text + " at " + node.last_exit.at : "";
      const reset = acts.querySelector(".reset");
      if (reset) reset.hidden = node.state !== "failed" && node.state !== "backoff";
    });
  const actorPath = (path, verb) => "/api/actors/" + path.split("/").map(encodeURIComponent).join("/") + "/" + verb;
  const showRelay = () => entries(byId("relay"), status.relay, "No link.", (link) => [
    el("div", { className: "top" }, el("b", null, link.link), state(link.state)), stale(link),
    el("p", { className: "quiet" }, "last frame ", age(el("span"), link.last_inbound_age_ms), ", last ack ", age(el("span"), link.last_ack_age_ms),
      link.next_dial_ms !== null ? ", next dial in " + span(link.next_dial_ms) : "", link.skipped ? ", " + plural(link.skipped, "line") + " skipped" : ""),
    counted("Frames by kind", link.frames), problem(link.last_error)]);
  const showLedger = () => entries(byId("ledger"), [status.ledger], "", (ledger) => [
    el("div", { className: "pair" }, counted("Inbound", ledger.inbound), counted("Outbound", ledger.outbound)),
    el("p", { className: "quiet" }, plural(ledger.written, "row") + " written" + (ledger.damaged ? ", " + ledger.damaged + " corrupt" : "")), problem(ledger.trouble)]);
  const showConfiguration = () => {
    const { needs_restart, leaving } = status.configuration;
    byId("configuration").replaceChildren(
      ...status.issues.map((issue) => problem((issue.part + " " + issue.name).trim() + " " + issue.state.replaceAll("_", " ") + (issue.detail ? ": " + issue.detail : ""))),
      ...Object.entries(status.stale).map(([name, ms]) => el("p", { className: "problem" }, name + " does not answer; its values are ", age(el("span"), ms), " old")),
      ...needs_restart.map((key) => el("p", { className: "quiet" }, key + " was changed and takes effect at the next start")),
      ...leaving.map((name) => el("p", { className: "quiet" }, name + " is being removed: its last turns are running")));
  };
  const showProfiles = () => entries(byId("profiles"), status.secrets, "None.", (profile) => [
    el("div", { className: "top" }, el("b", null, profile.name), state(profile.state)), stale(profile),
    el("p", { className: "quiet" }, profile.agent + " agent, " + plural(profile.secrets, "secret") + ", " + plural(profile.children_started, "child", "children") + " started"),
    profile.missing.length ? el("p", { className: "problem" }, "missing " + profile.missing.join(", ")) : null,
    ...profile.troubles.map(problem)]);
  const showHoncho = () => entries(byId("honcho"), status.honcho.filter((grant) => grant.state !== "none"), "None.", (grant) => [
    el("div", { className: "top" }, el("b", null, grant.profile), state(grant.state)), stale(grant),
    el("p", { className: "quiet" }, grant.host + ", ", grant.expires_in_s === null ? "no expiry" :
      grant.expires_in_s < 0 ? "expired" : age(el("span"), grant.expires_in_s * 1000, -1, " left"), ", " + plural(grant.exchanges, "exchange")),
    problem(grant.last_error), problem(grant.remedy)]);
  const showProcess = () => {
    const process = status.process;
    byId("process").replaceChildren(
      el("span", null, "version " + status.version), el("span", null, "pid " + process.pid),
      el("span", null, "up ", age(el("span"), process.uptime_ms)),
      ...(process.resident_bytes === null ? [] : [el("span", null, bytes(process.resident_bytes) + " resident")]),
      ...(process.open_fds === null ? [] : [el("span", null, plural(process.open_fds, "descriptor"))]),
      el("span", null, plural(status.turns.done, "turn") + " done, " + status.turns.failed + " failed, " + status.turns.stopped + " stopped, " + status.turns.refused + " refused"));
  };

  // --- the minute of latency -----------------------------------------------------------------
  const SVG = "http://www.w3.org/2000/svg";
  const stroke = (x1, y1, x2, y2, name) => {
    const line = document.createElementNS(SVG, "line");
    Object.entries({ x1, y1, x2, y2, class: name || "" }).forEach(([key, value]) => line.setAttribute(key, value));
    return line;
  };
  const showGraph = () => {
    const graph = byId("graph"), recent = status ? status.turns.recent_turns : [];
    // The gateway's clock may differ from this machine's: its newest turn cannot lie in the future.
    const now = Math.max(Date.now(), ...recent.map(([end]) => end));
    const shown = recent.filter(([end]) => now - end <= MINUTE_MS);
    const lengths = shown.map(([, ms]) => ms).sort((a, b) => a - b), most = Math.max(10, ...lengths);
    const lines = [0, 45, 90].map((y) => stroke(0, 5 + y, 600, 5 + y));
    // The square root keeps short turns visible beside long ones.
    const height = (ms) => 4 + 126 * Math.sqrt(ms / most);
    shown.forEach(([end, ms]) => { const x = 600 - 600 * (now - end) / MINUTE_MS; lines.push(stroke(x, 140, x, 140 - height(ms), "bar")); });
    graph.replaceChildren(stroke(0, 139, 600, 139), ...lines);
    text(byId("scale"), lengths.length ? "up to " + span(most) : "");
    const at = (share) => span(lengths[Math.min(lengths.length - 1, Math.floor(share * lengths.length))]);
    const summary = lengths.length ? "median " + at(0.5) + ", p95 " + at(0.95) : "no turns";
    text(byId("latency-summary"), summary);
    graph.setAttribute("aria-label", "Turn latency over the last minute: " + summary);
  };

  // --- the link to the gateway ---------------------------------------------------------------
  const showUpdated = () => {
    const ago = Date.now() - updatedAt;
    if (updatedAt) text(byId("updated"), (live ? "live, last change " : "last update ") + (ago < 1000 ? "just now" : span(ago) + " ago"));
  };
  const show = () => {
    ticking.clear();
    [showHead, showDrain, showTurns, showTree, showRelay, showLedger, showConfiguration, showProfiles, showHoncho, showProcess, showGraph, showUpdated].forEach((part) => part());
  };
  const banner = (sentence) => { byId("banner").hidden = !sentence; text(byId("banner"), sentence || ""); };
  const lost = (sentence, word = "unreachable") => {
    live = false;
    document.body.classList.add("stale");
    ["drain-begin", "drain-cancel"].forEach((id) => { byId(id).disabled = true; });
    text(byId("state"), word);
    byId("state").dataset.state = word;
    byId("state").dataset.tone = tone(word);
    banner(sentence);
  };
  const locked = (sentence) => lost(sentence || "The status of this gateway requires a token. Enter it below.", "locked");
  const dial = () => {
    clearTimeout(timer);
    live = false;
    if (socket) { socket.onclose = null; socket.close(); }
    const mine = socket = new WebSocket((location.protocol === "https:" ? "wss://" : "ws://") + location.host + "/api/status/ws");
    let received = false;
    mine.onopen = () => {
      const token = byId("token").value.trim();
      if (token) mine.send(token);
      // If no token is needed, the status arrives at once.
      else setTimeout(() => { if (socket === mine && !received) locked(); }, 1500);
    };
    mine.onmessage = (event) => {
      status = JSON.parse(event.data);
      received = true;
      updatedAt = Date.now();
      redial = REDIAL_FLOOR_MS;
      live = true;
      document.body.classList.remove("stale");
      banner("");
      show();
    };
    mine.onclose = (event) => {
      if (socket !== mine) return;
      socket = null;
      if (event.code === 4401) return locked(byId("token").value ? "The gateway does not accept this token." : "");
      lost(updatedAt ? "The connection to the gateway is lost; the status shown is out of date. Reconnecting." : "The gateway does not answer. Reconnecting.");
      timer = setTimeout(dial, redial * (0.5 + Math.random() / 2));
      redial = Math.min(redial * 2, REDIAL_CEILING_MS);
    };
  };
  setInterval(() => {
    showUpdated();
    if (!live) return;
    ticking.forEach((node) => node.tick());
    showGraph();
  }, 1000);
  dial();
})();
