//! The shape of the status, for the document of the API.

use super::operation_doc::{Field, Kind, field, maybe};

const GATEWAY_STATES: &[&str] = &["starting", "running", "draining", "stopping", "stopped", "startup_failed"];
const READINESS: &[&str] = &["ready", "degraded", "not_ready"];
const ACTOR_STATES: &[&str] = &["starting", "running", "backoff", "stopping", "stopped", "failed"];
/// The words of a link, then those of its actor.
const LINK_STATES: &[&str] = &[
    "disabled",
    "connecting",
    "handshaking",
    "connected",
    "idle",
    "waiting",
    "revoked",
    "starting",
    "backoff",
    "stopping",
    "stopped",
    "failed",
    "unresponsive",
];
/// The words of a profile, then those of its actor.
const PROFILE_STATES: &[&str] =
    &["ready", "degraded", "starting", "backoff", "stopping", "stopped", "failed", "unresponsive"];
/// The words of a grant, then those of its keeper.
const GRANT_STATES: &[&str] = &[
    "none",
    "fresh",
    "refreshing",
    "backoff",
    "uncertain",
    "reauth_required",
    "unreadable",
    "starting",
    "stopping",
    "stopped",
    "failed",
    "unresponsive",
];

const ACTOR: Field = field("actor", Kind::Word(ACTOR_STATES), "the state of its actor in the supervision tree");
const STALE: Field = field(
    "stale_ms",
    Kind::CountOrNull,
    "milliseconds since the rest was told, where its actor does not answer; null while it does",
);

/// The first ones are what strangers may see.
pub(super) const STATUS: &[Field] = &[
    field("version", Kind::Text, "version of this program"),
    field("gateway_running", Kind::Flag, "always true in a live answer"),
    field("gateway_state", Kind::Word(GATEWAY_STATES), "where it is in its life"),
    field("gateway_updated_at", Kind::Text, "when the state last changed"),
    field("gateway_platforms", Kind::Map(&Kind::Fields(PLATFORM)), "name of a platform to its state"),
    field("active_agents", Kind::Count, "turns in flight"),
    field("gateway_busy", Kind::Flag, "running with at least one turn"),
    field("gateway_drainable", Kind::Flag, "running, idle or not"),
    field("restart_drain_timeout", Kind::Count, "seconds that a shutdown waits for turns"),
    field("active_sessions", Kind::Count, "sessions with work queued or running"),
    field("profiles", Kind::List(&Kind::Text), "the profiles served"),
    field("readiness", Kind::Word(READINESS), "whether a turn would be admitted, and whether all parts work"),
    maybe("gateway_exit_reason", Kind::TextOrNull, "why it ends, once it does; in full only, as all that follows"),
    maybe("not_ready", Kind::TextOrNull, "why no turn would be admitted"),
    maybe("issues", Kind::List(&Kind::Fields(ISSUE)), "what is wrong, the worst first"),
    maybe(
        "stale",
        Kind::Map(&Kind::Count),
        "parts that do not answer, with the age of what is shown of them in milliseconds",
    ),
    maybe(
        "configuration",
        Kind::Fields(CONFIGURATION),
        "what is wrong with the files of the home, what waits for a restart, who is leaving",
    ),
    maybe("drain", Kind::Fields(DRAIN), "the gate, and the turns in flight"),
    maybe("relay", Kind::List(&Kind::Fields(LINK)), "the links"),
    maybe("honcho", Kind::List(&Kind::Fields(GRANT)), "the grants"),
    maybe("turns", Kind::Fields(TURNS), "counts of turns, and the last ones for the graph"),
    maybe("ledger", Kind::Fields(LEDGER), "what lies on disk, by state"),
    maybe(
        "secrets",
        Kind::List(&Kind::Fields(PROFILE)),
        "the profiles: names of secrets that are missing, never a value",
    ),
    maybe("actors", Kind::Node, "the supervision tree"),
    maybe("process", Kind::Fields(PROCESS), "memory, descriptors, uptime"),
];

const PLATFORM: &[Field] = &[
    field("state", Kind::Text, "connected, connecting, idle, disabled or fatal; of two links the worse"),
    maybe("error_code", Kind::Text, "a stable word, when something is wrong; in full only"),
    maybe("error_message", Kind::Text, "one sentence, when something is wrong; in full only"),
    field("updated_at", Kind::Text, "when the state last changed"),
];

const ISSUE: &[Field] = &[
    field("level", Kind::Word(READINESS), "degraded or not_ready"),
    field(
        "part",
        Kind::Word(&["gateway", "actor", "profile", "link", "grant", "configuration"]),
        "what kind of part it is about",
    ),
    field("name", Kind::Text, "which of them; empty where there is one only"),
    field("state", Kind::Text, "how it is"),
    field("detail", Kind::TextOrNull, "more of it"),
];

const CONFIGURATION: &[Field] = &[
    field("troubles", Kind::List(&Kind::Text), "what is wrong with the home's files; what they said last holds"),
    field("needs_restart", Kind::List(&Kind::Text), "keys that were changed and hold from the next start only"),
    field("leaving", Kind::List(&Kind::Text), "profiles that are served no more and whose last turns still run"),
    field("changed_at", Kind::TextOrNull, "when something last changed"),
];

const DRAIN: &[Field] = &[
    field("draining", Kind::Flag, "the whole gateway is drained, or stopping"),
    field("stopping", Kind::Flag, "the process is going down"),
    field("requested_at", Kind::TextOrNull, "when the drain was asked for"),
    field("principal", Kind::TextOrNull, "by whom"),
    field("age_ms", Kind::CountOrNull, "milliseconds since it began"),
    field("profiles", Kind::List(&Kind::Text), "profiles that are drained by themselves"),
    field("active_agents", Kind::Count, "turns in flight"),
    field("oldest_turn_ms", Kind::CountOrNull, "age of the oldest turn in flight"),
    field("turns", Kind::List(&Kind::Fields(TURN)), "the turns in flight, oldest first"),
    field("waited_for", Kind::Count, "turns that a drain waits for: all but those that asked for it"),
    field("suppress_notification", Kind::Flag, "the shutdown that ends this drain is not announced"),
    field("file_events", Kind::Flag, "whether every home that may hold a marker gives file events"),
];

const TURN: &[Field] = &[
    field("turn_id", Kind::Text, "which"),
    field("profile", Kind::Text, "under which profile"),
    field("session_key", Kind::Text, "in which session"),
    field("age_ms", Kind::Count, "its age in milliseconds"),
];

const LINK: &[Field] = &[
    ACTOR,
    field("state", Kind::Word(LINK_STATES), "how it is; the actor's state where that does not run"),
    STALE,
    field("link", Kind::Text, "its name"),
    field("state_age_ms", Kind::Count, "milliseconds in its own last state"),
    field("generation", Kind::Count, "dials since the process started"),
    field("next_dial_ms", Kind::CountOrNull, "milliseconds until the next dial"),
    field("last_inbound_age_ms", Kind::CountOrNull, "age of the last frame from the connector"),
    field("last_ack_age_ms", Kind::CountOrNull, "age of the last acknowledgement sent"),
    field("last_error", Kind::TextOrNull, "the last thing that went wrong"),
    field("frames", Kind::Map(&Kind::Count), "frames by kind, since the process started"),
    field("skipped", Kind::Count, "lines that were not frames, since the process started"),
    field("dead_letters", Kind::Count, "frames that could not be used and are kept, since the process started"),
    field("waiting", Kind::Count, "outbound frames that wait for a result"),
    field("platforms", Kind::List(&Kind::Text), "what it is set up for"),
    field("descriptors", Kind::List(&Kind::Fields(DESCRIPTOR)), "what the connector fronts"),
];

const DESCRIPTOR: &[Field] = &[
    field("contract_version", Kind::Count, "version of the contract"),
    field("platform", Kind::Text, "the platform"),
    field("label", Kind::Text, "its name for people"),
    field("max_message_length", Kind::Count, "longest message"),
    field("supports_draft_streaming", Kind::Flag, "whether a reply may grow as a draft"),
    field("supports_edit", Kind::Flag, "whether a sent message can be changed"),
    field("supports_threads", Kind::Flag, "whether threads can be opened"),
    field("markdown_dialect", Kind::Text, "how text is marked up"),
    field("len_unit", Kind::Word(&["chars", "utf16"]), "what the length is counted in"),
    field("emoji", Kind::Text, "a sign for people"),
    field("platform_hint", Kind::Text, "a hint for the agent"),
    field("pii_safe", Kind::Flag, "whether identifiers may be shown"),
    field("supports_context", Kind::Flag, "whether events bring the messages around them"),
    maybe("supported_ops", Kind::List(&Kind::Text), "the ops it takes"),
];

const GRANT: &[Field] = &[
    ACTOR,
    field("state", Kind::Word(GRANT_STATES), "how it is; the state of its keeper where that does not run"),
    STALE,
    field("profile", Kind::Text, "whose"),
    field("host", Kind::Text, "the host's name in the file"),
    field("expires_in_s", Kind::IntegerOrNull, "seconds until the access token expires; negative when it has"),
    field("last_refresh_age_s", Kind::CountOrNull, "seconds since the last exchange"),
    field("last_error", Kind::TextOrNull, "the last thing that went wrong"),
    field("remedy", Kind::TextOrNull, "what a person can do about it"),
    field("exchanges", Kind::Count, "exchanges since the process started"),
];

const TURNS: &[Field] = &[
    field("sessions", Kind::Count, "sessions with work queued or running"),
    field("running", Kind::Count, "turns running"),
    field("queued", Kind::Count, "events that wait for their turn"),
    field("held", Kind::Count, "events held until a drain ends"),
    field("awaiting_link", Kind::Map(&Kind::Count), "events that wait for their link to come up, by link"),
    field("done", Kind::Count, "turns answered since the process started"),
    field("failed", Kind::Count, "turns failed since the process started"),
    field("stopped", Kind::Count, "turns stopped since the process started"),
    field("refused", Kind::Count, "events refused since the process started"),
    field("duplicates", Kind::Count, "events that were in the ledger already, since the process started"),
    field(
        "recent_turns",
        Kind::List(&Kind::List(&Kind::Count)),
        "of the last turns, newest last: end in milliseconds since 1970, length in milliseconds",
    ),
];

const LEDGER: &[Field] = &[
    field("path", Kind::Text, "where it lies"),
    field("inbound", Kind::Map(&Kind::Count), "inbound events by state"),
    field("outbound", Kind::Map(&Kind::Count), "outbound obligations by state"),
    field("written", Kind::Count, "events and obligations written since the process started"),
    field("damaged", Kind::Count, "rows found damaged since the process started"),
    field("trouble", Kind::TextOrNull, "why nothing can be written at the moment"),
];

const PROFILE: &[Field] = &[
    ACTOR,
    field("state", Kind::Word(PROFILE_STATES), "how it is; the actor's state where that does not run"),
    STALE,
    field("name", Kind::Text, "which"),
    field("troubles", Kind::List(&Kind::Text), "why it is degraded"),
    field("secrets", Kind::Count, "names held in its scope"),
    field("missing", Kind::List(&Kind::Text), "names that its configuration needs and its scope lacks"),
    field("agent", Kind::Text, "the kind of its agent"),
    field("children_started", Kind::Count, "children started since the process started"),
];

/// A node of the supervision tree.
pub(super) const NODE: &[Field] = &[
    field("id", Kind::Text, "its name among its siblings"),
    field("path", Kind::Text, "its names from the root down, with slashes; the root's is empty"),
    field("kind", Kind::Word(&["supervisor", "worker"]), "supervisor or worker"),
    field("state", Kind::Word(ACTOR_STATES), "how it is"),
    field("generation", Kind::Count, "which incarnation this is"),
    field("restarts_in_window", Kind::Count, "what is spent of its budget"),
    field("restarts_total", Kind::Count, "all of them"),
    field("started_at", Kind::TextOrNull, "when this incarnation started"),
    field("last_exit", Kind::FieldsOrNull(EXIT), "why the last one ended; null if none has"),
    field("queue_depth", Kind::Count, "messages that wait"),
    field("refused", Kind::Count, "messages refused by a full mailbox"),
    field("next_restart_in_ms", Kind::CountOrNull, "when it starts again"),
    field("heartbeat_age_ms", Kind::CountOrNull, "since its last sign of life"),
    field("lane", Kind::Text, "its thread"),
    field("children", Kind::List(&Kind::Node), "the same of each child"),
];

const EXIT: &[Field] = &[
    field("word", Kind::Text, "a stable word"),
    field("text", Kind::Text, "one line"),
    field("at", Kind::Text, "when"),
];

const PROCESS: &[Field] = &[
    field("pid", Kind::Count, "its id"),
    field("uptime_ms", Kind::Count, "milliseconds since it started"),
    field("resident_bytes", Kind::CountOrNull, "resident memory, where the system tells"),
    field("open_fds", Kind::CountOrNull, "open descriptors, where the system tells"),
];
