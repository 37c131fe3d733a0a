//! The fields of the status, for the document of the API.

use super::operation_doc::{Field, FieldKind, field, optional};

const GATEWAY_STATES: &[&str] = &["starting", "running", "draining", "stopping", "stopped", "startup_failed"];
const READINESS: &[&str] = &["ready", "degraded", "not_ready"];
const ACTOR_STATES: &[&str] = &["starting", "running", "backoff", "stopping", "stopped", "failed"];
/// The states that a part has while its actor does not run or does not answer.
pub(super) const NOT_ANSWERING: &[&str] = &["starting", "backoff", "stopping", "stopped", "failed", "unresponsive"];
const LINK_STATES: &[&str] = &["disabled", "connecting", "handshaking", "connected", "idle", "waiting", "revoked"];
const PROFILE_STATES: &[&str] = &["ready", "degraded"];
const GRANT_STATES: &[&str] = &["none", "fresh", "refreshing", "backoff", "uncertain", "reauth_required", "unreadable"];

const ACTOR: Field = field("actor", FieldKind::Word(ACTOR_STATES), "the state of its actor in the supervision tree");
const STALE: Field = field(
    "stale_ms",
    FieldKind::CountOrNull,
    "age of the other fields in milliseconds, while its actor does not answer; else null",
);

/// The required fields are the public summary.
pub(super) const STATUS: &[Field] = &[
    field("version", FieldKind::Text, "version of this program"),
    field("gateway_running", FieldKind::Flag, "always true in a live answer"),
    field("gateway_state", FieldKind::Word(GATEWAY_STATES), "the stage of its lifecycle"),
    field("gateway_updated_at", FieldKind::Text, "when the state last changed"),
    field("gateway_platforms", FieldKind::Map(&FieldKind::Fields(PLATFORM)), "name of a platform to its state"),
    field("active_agents", FieldKind::Count, "turns in flight"),
    field("gateway_busy", FieldKind::Flag, "running with at least one turn"),
    field("gateway_drainable", FieldKind::Flag, "running, idle or not"),
    field("restart_drain_timeout", FieldKind::Count, "seconds that a shutdown waits for turns"),
    field("active_sessions", FieldKind::Count, "sessions with work queued or running"),
    field("profiles", FieldKind::List(&FieldKind::Text), "the profiles served"),
    field("readiness", FieldKind::Word(READINESS), "whether a turn would be admitted, and whether all parts work"),
    optional(
        "gateway_exit_reason",
        FieldKind::TextOrNull,
        "why it stops, once it does; in the full status only, as all fields below",
    ),
    optional("not_ready", FieldKind::TextOrNull, "why no turn would be admitted"),
    optional("issues", FieldKind::List(&FieldKind::Fields(ISSUE)), "the issues, the worst first"),
    optional(
        "stale",
        FieldKind::Map(&FieldKind::Count),
        "parts that do not answer, with the age of their values in milliseconds",
    ),
    optional(
        "configuration",
        FieldKind::Fields(CONFIGURATION),
        "errors in the files of the home, changes that wait for a restart, removed profiles with running turns",
    ),
    optional("drain", FieldKind::Fields(DRAIN), "the gate, and the turns in flight"),
    optional("relay", FieldKind::List(&FieldKind::Fields(LINK)), "the links"),
    optional("honcho", FieldKind::List(&FieldKind::Fields(GRANT)), "the grants"),
    optional("turns", FieldKind::Fields(TURNS), "counts of turns, and the last ones for the graph"),
    optional("ledger", FieldKind::Fields(LEDGER), "rows on disk, by state"),
    optional(
        "secrets",
        FieldKind::List(&FieldKind::Fields(PROFILE)),
        "the profiles: names of missing secrets, no values",
    ),
    optional("actors", FieldKind::Node, "the supervision tree"),
    optional("process", FieldKind::Fields(PROCESS), "memory, descriptors, uptime"),
];

const PLATFORM: &[Field] = &[
    field("state", FieldKind::Text, "connected, connecting, idle, disabled or fatal; the worse of two links"),
    optional("error_code", FieldKind::Text, "a stable code, if there is an error; in the full status only"),
    optional("error_message", FieldKind::Text, "one sentence, if there is an error; in the full status only"),
    field("updated_at", FieldKind::Text, "when the state last changed"),
];

const ISSUE: &[Field] = &[
    field("level", FieldKind::Word(READINESS), "degraded or not_ready"),
    field(
        "part",
        FieldKind::Word(&["gateway", "actor", "profile", "link", "grant", "configuration"]),
        "the kind of the part",
    ),
    field("name", FieldKind::Text, "its name; empty if there is only one"),
    field("state", FieldKind::Text, "its state"),
    field("detail", FieldKind::TextOrNull, "details"),
];

const CONFIGURATION: &[Field] = &[
    field(
        "troubles",
        FieldKind::List(&FieldKind::Text),
        "errors in the home's files; their last valid content stays in force",
    ),
    field(
        "needs_restart",
        FieldKind::List(&FieldKind::Text),
        "keys that were changed and take effect at the next start only",
    ),
    field("leaving", FieldKind::List(&FieldKind::Text), "removed profiles whose last turns are running"),
    field("changed_at", FieldKind::TextOrNull, "when something last changed"),
];

const DRAIN: &[Field] = &[
    field("draining", FieldKind::Flag, "the whole gateway is drained, or stopping"),
    field("stopping", FieldKind::Flag, "the process is stopping"),
    field("requested_at", FieldKind::TextOrNull, "when the drain was requested"),
    field("principal", FieldKind::TextOrNull, "the principal that requested the drain"),
    field("age_ms", FieldKind::CountOrNull, "milliseconds since it began"),
    field("profiles", FieldKind::List(&FieldKind::Text), "profiles that are drained individually"),
    field("active_agents", FieldKind::Count, "turns in flight"),
    field("oldest_turn_ms", FieldKind::CountOrNull, "age of the oldest turn in flight"),
    field("turns", FieldKind::List(&FieldKind::Fields(TURN)), "the turns in flight, oldest first"),
    field("waited_for", FieldKind::Count, "turns that a drain waits for: all except those that requested it"),
    field("suppress_notification", FieldKind::Flag, "the shutdown that ends this drain is not announced"),
    field("file_events", FieldKind::Flag, "whether every home that may have a marker reports file events"),
];

const TURN: &[Field] = &[
    field("turn_id", FieldKind::Text, "its id"),
    field("profile", FieldKind::Text, "its profile"),
    field("session_key", FieldKind::Text, "its session"),
    field("age_ms", FieldKind::Count, "its age in milliseconds"),
];

const LINK: &[Field] = &[
    ACTOR,
    field("state", FieldKind::PartState(LINK_STATES), "its state; the state of its actor while that does not run"),
    STALE,
    field("link", FieldKind::Text, "its name"),
    field("state_age_ms", FieldKind::Count, "milliseconds since the link entered its state"),
    field("generation", FieldKind::Count, "dials since the process started"),
    field("next_dial_ms", FieldKind::CountOrNull, "milliseconds until the next dial"),
    field("last_inbound_age_ms", FieldKind::CountOrNull, "age of the last frame from the connector"),
    field("last_ack_age_ms", FieldKind::CountOrNull, "age of the last acknowledgement sent"),
    field("last_error", FieldKind::TextOrNull, "the last error"),
    field("frames", FieldKind::Map(&FieldKind::Count), "frames by kind, since the process started"),
    field("skipped", FieldKind::Count, "lines that were not frames, since the process started"),
    field("dead_letters", FieldKind::Count, "frames that could not be used and are kept, since the process started"),
    field("waiting", FieldKind::Count, "outbound frames that wait for a result"),
    field("platforms", FieldKind::List(&FieldKind::Text), "the platforms that it is configured for"),
    field("descriptors", FieldKind::List(&FieldKind::Fields(DESCRIPTOR)), "the descriptors of the connector"),
];

const DESCRIPTOR: &[Field] = &[
    field("contract_version", FieldKind::Count, "version of the contract"),
    field("platform", FieldKind::Text, "the platform"),
    field("label", FieldKind::Text, "its name for people"),
    field("max_message_length", FieldKind::Count, "longest message"),
    field("supports_draft_streaming", FieldKind::Flag, "whether a reply may grow as a draft"),
    field("supports_edit", FieldKind::Flag, "whether a sent message can be changed"),
    field("supports_threads", FieldKind::Flag, "whether threads can be opened"),
    field("markdown_dialect", FieldKind::Text, "the dialect of Markdown"),
    field("len_unit", FieldKind::Word(&["chars", "utf16"]), "the unit of the length"),
    field("emoji", FieldKind::Text, "an emoji for people"),
    field("platform_hint", FieldKind::Text, "a hint for the agent"),
    field("pii_safe", FieldKind::Flag, "whether identifiers may be shown"),
    field("supports_context", FieldKind::Flag, "whether events contain the messages around them"),
    optional("supported_ops", FieldKind::List(&FieldKind::Text), "the ops that it supports"),
];

const GRANT: &[Field] = &[
    ACTOR,
    field("state", FieldKind::PartState(GRANT_STATES), "its state; the state of its actor while that does not run"),
    STALE,
    field("profile", FieldKind::Text, "its profile"),
    field("host", FieldKind::Text, "the host's name in the file"),
    field("expires_in_s", FieldKind::IntegerOrNull, "seconds until the access token expires; negative when it has"),
    field("last_refresh_age_s", FieldKind::CountOrNull, "seconds since the last exchange"),
    field("last_error", FieldKind::TextOrNull, "the last error"),
    field("remedy", FieldKind::TextOrNull, "what a person can do about it"),
    field("exchanges", FieldKind::Count, "exchanges since the process started"),
];

const TURNS: &[Field] = &[
    field("sessions", FieldKind::Count, "sessions with work queued or running"),
    field("running", FieldKind::Count, "turns running"),
    field("queued", FieldKind::Count, "events that wait for their turn"),
    field("held", FieldKind::Count, "events held until a drain ends"),
    field("awaiting_link", FieldKind::Map(&FieldKind::Count), "events that wait for their link to come up, by link"),
    field("done", FieldKind::Count, "turns answered since the process started"),
    field("failed", FieldKind::Count, "turns failed since the process started"),
    field("stopped", FieldKind::Count, "turns stopped since the process started"),
    field("refused", FieldKind::Count, "events refused since the process started"),
    field("duplicates", FieldKind::Count, "events that were in the ledger already, since the process started"),
    field(
        "dropped",
        FieldKind::Map(&FieldKind::Count),
        "what was not done because of a limit, since the process started: `replies` that were given up, `notices` of the gateway that were not \
         sent because too many chats got one within a minute, `events` that were refused, or deliveries that were not taken, because too many of their link waited",
    ),
    field(
        "recent_turns",
        FieldKind::List(&FieldKind::List(&FieldKind::Count)),
        "of the last turns, newest last: end in milliseconds since 1970, length in milliseconds",
    ),
];

const LEDGER: &[Field] = &[
    field("path", FieldKind::Text, "its path"),
    field("inbound", FieldKind::Map(&FieldKind::Count), "inbound events by state"),
    field("outbound", FieldKind::Map(&FieldKind::Count), "outbound messages by state"),
    field(
        "inbound_oldest_ms",
        FieldKind::Map(&FieldKind::Count),
        "milliseconds since the oldest inbound event was recorded, by state, of states that are open or dead",
    ),
    field("outbound_oldest_ms", FieldKind::Map(&FieldKind::Count), "the same of outbound messages"),
    field("written", FieldKind::Count, "events and outbound messages written since the process started"),
    field("damaged", FieldKind::Count, "rows found corrupt since the process started"),
    field("trouble", FieldKind::TextOrNull, "why nothing can be written at present"),
];

const PROFILE: &[Field] = &[
    ACTOR,
    field("state", FieldKind::PartState(PROFILE_STATES), "its state; the state of its actor while that does not run"),
    STALE,
    field("name", FieldKind::Text, "its name"),
    field("troubles", FieldKind::List(&FieldKind::Text), "why it is degraded"),
    field("secrets", FieldKind::Count, "names held in its scope"),
    field("missing", FieldKind::List(&FieldKind::Text), "names that its configuration needs and its scope lacks"),
    field("agent", FieldKind::Text, "the kind of its agent"),
    field("children_started", FieldKind::Count, "children started since the process started"),
];

/// A node of the supervision tree.
pub(super) const NODE: &[Field] = &[
    field("id", FieldKind::Text, "its name among its siblings"),
    field("path", FieldKind::Text, "its names from the root down, with slashes; the root's is empty"),
    field("kind", FieldKind::Word(&["supervisor", "worker"]), "supervisor or worker"),
    field("state", FieldKind::Word(ACTOR_STATES), "its state"),
    field("generation", FieldKind::Count, "which incarnation this is"),
    field("restarts_in_window", FieldKind::Count, "restarts that count towards the restart intensity"),
    field("restarts_total", FieldKind::Count, "all restarts, inside and outside the window"),
    field("started_at", FieldKind::TextOrNull, "when this incarnation started"),
    field("last_exit", FieldKind::FieldsOrNull(EXIT), "why the last incarnation ended; null if none has"),
    field("queue_depth", FieldKind::Count, "messages that wait"),
    field("refused", FieldKind::Count, "messages refused by a full mailbox"),
    field("next_restart_in_ms", FieldKind::CountOrNull, "milliseconds until it starts again"),
    field("heartbeat_age_ms", FieldKind::CountOrNull, "milliseconds since its last heartbeat"),
    field("lane", FieldKind::Text, "its worker thread"),
    field("children", FieldKind::List(&FieldKind::Node), "its children"),
];

const EXIT: &[Field] = &[
    field("word", FieldKind::Text, "a stable word"),
    field("text", FieldKind::Text, "one line for people"),
    field("at", FieldKind::Text, "when"),
];

const PROCESS: &[Field] = &[
    field("pid", FieldKind::Count, "its id"),
    field("uptime_ms", FieldKind::Count, "milliseconds since it started"),
    field("resident_bytes", FieldKind::CountOrNull, "resident memory, where the system reports it"),
    field("open_fds", FieldKind::CountOrNull, "open descriptors, where the system reports it"),
];
