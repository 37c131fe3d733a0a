//! Which action changes which field of the status and which metric.

/// What each action changes. A field is named by its path in the status, with `[]` for the items of a list and `*` for names that
/// the document does not fix; a metric by its name after `caduceus_`.
pub(super) const ROWS: &[(&str, &str)] = &[
    (
        "a link is refused",
        "gateway_platforms.*.state gateway_platforms.*.updated_at readiness issues[].level issues[].part issues[].name \
         issues[].state issues[].detail relay[].state relay[].next_dial_ms relay[].last_error relay[].state_age_ms \
         relay_links parts_degraded relay_silence_seconds",
    ),
    (
        "the link reconnects with one platform less",
        "relay[].generation relay[].frames.* relay[].last_inbound_age_ms relay[].platforms[] relay[].descriptors[].platform \
         relay[].descriptors[].contract_version relay[].descriptors[].label relay[].descriptors[].max_message_length \
         relay[].descriptors[].supports_draft_streaming relay[].descriptors[].supports_edit \
         relay[].descriptors[].supports_threads relay[].descriptors[].markdown_dialect relay[].descriptors[].len_unit \
         relay[].descriptors[].emoji relay[].descriptors[].platform_hint relay[].descriptors[].pii_safe \
         relay[].descriptors[].supports_context relay[].descriptors[].supported_ops[] relay_frames",
    ),
    ("its credentials are revoked", "gateway_platforms.*.error_code gateway_platforms.*.error_message"),
    (
        "a message arrives",
        "active_agents gateway_busy active_sessions drain.active_agents drain.oldest_turn_ms drain.turns[].turn_id \
         drain.turns[].profile drain.turns[].session_key drain.turns[].age_ms drain.waited_for turns.sessions turns.running \
         ledger.inbound.* ledger.inbound_oldest_ms.* ledger.written secrets[].children_started relay[].last_ack_age_ms process.resident_bytes \
         process.open_fds turns_in_flight oldest_turn_seconds sessions_active agents_started ledger_inbound ledger_inbound_oldest_seconds ledger_written \
         process_resident_memory_bytes process_open_fds relay_last_ack_seconds actors",
    ),
    ("a second message arrives", "turns.queued events_queued"),
    ("the turn is stopped", "turns.stopped turns.recent_turns[][] turns_ended turn_median_seconds turn_p95_seconds"),
    ("a turn is answered", "turns.done ledger.outbound.* ledger_outbound"),
    ("an agent is missing", "turns.failed secrets[].troubles[] secrets[].state profiles_by_state"),
    ("a message arrives twice", "turns.duplicates events_duplicate"),
    ("a profile is not served", "turns.refused events_refused"),
    ("a line is not a frame", "relay[].skipped relay_lines_skipped"),
    ("a frame is unusable", "relay[].dead_letters relay_dead_letters"),
    (
        "a result is missing",
        "relay[].waiting relay_sends_waiting ledger.outbound_oldest_ms.* ledger_outbound_oldest_seconds",
    ),
    (
        "the gateway is drained",
        "gateway_state gateway_updated_at gateway_drainable not_ready drain.draining drain.requested_at drain.principal \
         drain.age_ms drain.suppress_notification ready draining drain_age_seconds",
    ),
    ("a message is held", "turns.held events_held"),
    ("a held message is corrupt", "ledger.damaged ledger_damaged"),
    ("a held message has no link", "turns.awaiting_link.* events_awaiting_link"),
    ("a profile is drained", "drain.profiles[] drained_profiles"),
    ("a profile is added", "profiles[] secrets[].name actors.id actors.path actors.kind actors.lane profiles"),
    ("a profile lacks a secret", "secrets[].missing[] secrets[].agent secrets_missing"),
    ("a profile gets another secret", "secrets[].secrets"),
    ("a profile is removed during a turn", "configuration.leaving[] configuration.changed_at"),
    ("a file is broken", "configuration.troubles[]"),
    ("keys are changed", "configuration.needs_restart[] restart_drain_timeout"),
    (
        "a user logs in",
        "honcho[].profile honcho[].host honcho[].state honcho[].expires_in_s honcho[].actor honcho_grants \
         honcho_seconds_left",
    ),
    ("a token is refreshed", "honcho[].exchanges honcho[].last_refresh_age_s honcho_exchanges"),
    ("a grant is revoked", "honcho[].last_error honcho[].remedy"),
    (
        "actors fail",
        "actors.state actors.generation actors.restarts_in_window actors.restarts_total actors.started_at \
         actors.last_exit.word actors.last_exit.text actors.last_exit.at actors.next_restart_in_ms relay[].actor \
         relay[].stale_ms secrets[].actor secrets[].stale_ms actor_restarts",
    ),
    ("an actor hangs", "stale.* honcho[].stale_ms actors.queue_depth actor_messages_waiting"),
    ("the disk accepts no writes", "ledger.trouble ledger_writable"),
    ("a client watches", "status_viewers http_places_taken"),
    ("more unauthenticated clients watch than the limit allows", "http_places_evicted"),
    ("time passes", "process.uptime_ms actors.heartbeat_age_ms process_uptime_seconds"),
    ("the gateway shuts down", "drain.stopping gateway_exit_reason"),
    ("another gateway starts", "process.pid"),
];

/// Constants while one binary serves a home. Read in every state.
pub(super) const FIXED: &[&str] = &["version", "gateway_running", "relay[].link", "ledger.path", "build_info"];

/// What this test cannot cause within seconds from outside: the file and the name of the test that changes it.
pub(super) const ELSEWHERE: &[(&str, &str, &str)] = &[
    // Needs 65,536 waiting messages.
    (
        "actors.refused",
        "actors/supervision/tests/supervision/exits.rs",
        "exits_that_did_not_fit_into_a_full_mailbox_are_reported_later_in_order",
    ),
    ("actor_messages_refused", "src/http/tests/views.rs", "metrics_have_all_counts_and_no_label_from_outside"),
    // Needs far more events than the gateway can answer.
    (
        "turns.dropped.*",
        "tests/service/overload.rs",
        "more_events_than_it_can_answer_are_refused_and_each_that_was_taken_is_answered",
    ),
    (
        "dropped",
        "tests/service/overload.rs",
        "more_events_than_it_can_answer_are_refused_and_each_that_was_taken_is_answered",
    ),
    // Needs a stalled, full or closed standard error.
    (
        "log_lines_dropped",
        "tests/operators/outputs.rs",
        "a_gateway_serves_restarts_its_actors_and_ends_with_every_kind_of_output",
    ),
    // Needs a file system that hangs.
    (
        "file_systems_hung",
        "tests/service/hung_disk.rs",
        "a_home_on_a_hung_disk_affects_no_other_from_start_to_shutdown",
    ),
    // Needs a system that refuses a watch.
    (
        "drain.file_events",
        "tests/service/markers.rs",
        "without_file_events_the_poll_finds_the_marker_and_status_log_and_doctor_report_it",
    ),
];
