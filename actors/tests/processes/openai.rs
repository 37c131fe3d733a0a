//! Turns whose agent is a chat completions server: a real one on loopback, its requests, its stream, its key, its end. `openai_faults` has the
//! faults of the server.

use std::fs;
use std::time::{Duration, Instant};

use actix::Addr;
use caduceus_actors::profile::agent::messages::{AuthorisedCall, Call, CallError};
use caduceus_actors::profile::{CallTimings, ProfileActor};
use caduceus_actors::turn::id::fresh_turn_id;
use caduceus_contract::messages::ledger::HistoryEntry;
use caduceus_contract::messages::profile::{GetProfile, ProfileState, ProfileView};
use caduceus_contract::messages::turn::{StopCause, StopTurn, TurnEnded, TurnOutcome};
use caduceus_supervision::Port;
use serde_json::json;

use super::forms::{Ends, FORMS, FormServer};
use super::model_server::{Act, ModelServer, answered, chunk, done, gate, send_words, stream_head, streamed, word};
use super::support::{Fixture, TurnParams};
use super::wait::{CEILING, pace, until};

pub(super) const BROKE_OFF: &str = "The answer broke off; this is all there is of it.";

pub(super) fn yaml(base_url: &str, more: &str) -> String {
    format!("agent:\n  backend: openai\n  base_url: {base_url:?}\n  model: m1\n{more}")
}

/// A server, and a home that uses it as its agent.
pub(super) fn fixture(more: &str) -> (ModelServer, Fixture) {
    let server = ModelServer::start();
    let fixture = Fixture::new(&yaml(&server.url(), more));
    (server, fixture)
}

pub(super) async fn turn(fixture: &Fixture) -> TurnEnded {
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    fixture.stub.ended().await
}

async fn view(profile: &Addr<ProfileActor>) -> ProfileView {
    Port::from(profile.clone()).ask(GetProfile, CEILING).await.unwrap()
}

pub(super) fn notice(ended: &TurnEnded) -> &str {
    match &ended.outcome {
        TurnOutcome::Failed { notice, .. } => notice,
        other => panic!("{other:?} is not a failure"),
    }
}

async fn call(fixture: &Fixture, profile: &Addr<ProfileActor>) -> Result<Call, CallError> {
    let order = AuthorisedCall { agent: fixture.agent(), turn: fresh_turn_id(), body: "{}".into() };
    Port::from(profile.clone()).ask(order, CEILING).await.unwrap()
}

#[actix::test]
async fn a_stream_is_parsed_at_every_chunk_size() {
    let words = ["Grüße, ", "", "中文 ", "😀😀", "\n```rust\nfn main() {}\n", "```\n", "end"];
    for (line_end, cut) in [("\n", usize::MAX), ("\r\n", 1), ("\n", 3), ("\r\n", 7), ("\r", 10)] {
        let (server, fixture) = fixture("");
        server.script(streamed(&words, line_end, cut));
        let ended = turn(&fixture).await;
        assert_eq!((&ended.outcome, ended.reply.as_str()), (&TurnOutcome::Done, words.concat().as_str()), "{cut}");
        assert_eq!(fixture.stub.posted(), [words.concat()], "{cut}");
    }
}

#[actix::test]
async fn the_request_holds_the_system_prompt_the_latest_history_the_quoted_text_and_the_key() {
    let (server, fixture) = fixture("  api_key_env: MODEL_KEY\n  system: Be brief.\n  history: 2\n");
    fs::write(fixture.home.path().join(".env"), "MODEL_KEY=sk-canary-7\n").unwrap();
    let entry = |role: &str, content: &str| HistoryEntry { role: role.to_owned().into(), content: content.into() };
    let history = vec![entry("user", "forgotten"), entry("user", "one"), entry("assistant", "two")];
    let params = TurnParams {
        text: "three",
        history,
        context: Some("[Recent channel messages]\nAnn: hi"),
        ..TurnParams::default()
    };
    fixture.turn(&fixture.profile("default", &[]), params).await;
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    let [request] = &server.requests()[..] else { panic!("expected one request") };
    assert_eq!(request.line, "POST /v1/chat/completions");
    assert_eq!(request.authorization.as_deref(), Some("Bearer sk-canary-7"));
    assert_eq!((&request.body["model"], &request.body["stream"]), (&json!("m1"), &json!(true)));
    let messages = request.messages();
    let messages: Vec<_> = messages.iter().map(|(role, content)| (role.as_str(), content.as_str())).collect();
    let question = "[Recent channel messages]\nAnn: hi\n\n[New message]\nthree";
    assert_eq!(messages, [("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", question)]);
}

#[actix::test]
async fn without_api_key_env_no_key_is_sent() {
    let (server, fixture) = fixture("");
    fs::write(fixture.home.path().join(".env"), "OPENAI_API_KEY=sk-canary-7\n").unwrap();
    turn(&fixture).await;
    assert_eq!(server.requests()[0].authorization, None);
}

#[actix::test]
async fn a_reply_grows_in_the_chat_while_the_server_still_streams() {
    let (server, fixture) = fixture("");
    let (open, gate) = gate();
    server.script(vec![stream_head(), send_words(&["one "]), gate, send_words(&["two"]), done()]);
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the first word in the chat", || (fixture.stub.posted() == ["one"]).then_some(())).await;
    open.send(()).unwrap();
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Done);
    let sent = fixture.stub.sent();
    let last = sent.last().unwrap();
    assert_eq!((&last["op"], &last["content"]), (&json!("edit"), &json!("one two")));
    assert_eq!(fixture.stub.ledger().len(), 1, "the message is one row");
}

#[actix::test]
async fn an_answer_that_is_not_streamed_is_parsed() {
    let (server, fixture) = fixture("");
    server.script(answered(200, "", &json!({"choices": [{"message": {"role": "assistant", "content": "Grüße"}}]})));
    assert_eq!(turn(&fixture).await.reply, "Grüße");
    assert_eq!(fixture.stub.posted(), ["Grüße"]);
}

#[actix::test]
async fn every_http_form_of_an_answer_has_its_expected_outcome() {
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let body = format!("{}{}{finish}", word("Grüße, ", "\n"), word("all of it", "\n"));
    let turns = FORMS.map(|(form, ends)| {
        let body = body.clone();
        async move {
            let server = FormServer::start(move |_| (form.to_owned(), "text/event-stream", body.clone().into()));
            let mut fixture = Fixture::new(&yaml(&format!("{}/v1", server.url()), ""));
            if ends == Ends::Never {
                fixture.call_timings.idle = Duration::from_millis(300);
            }
            let ended = turn(&fixture).await;
            let (expected, tries): (&[&str], _) = match ends {
                Ends::Whole => {
                    assert_eq!(
                        (&ended.outcome, ended.reply.as_str()),
                        (&TurnOutcome::Done, "Grüße, all of it"),
                        "{form}"
                    );
                    (&["Grüße, all of it"], 1)
                }
                Ends::Unreadable => (&["The agent's answer could not be understood."], 1),
                Ends::Redirect => (&["The agent's server refused the request with 307."], 1),
                Ends::Closed => (&["The agent's answer did not arrive; please try again later."], 3),
                Ends::Never if form == "never" => (&["The agent did not answer in time; please try again later."], 3),
                // Half of the body holds the first word.
                Ends::Cut | Ends::Never => (&["Grüße,", BROKE_OFF], 1),
            };
            let posted: Vec<String> = fixture.stub.posted();
            assert_eq!(posted, expected, "{form}");
            assert_eq!(server.requests(), tries, "{form}");
        }
    });
    futures_util::future::join_all(turns).await;
}

#[actix::test]
async fn text_after_a_long_pause_is_still_part_of_the_reply() {
    let (server, fixture) = fixture("");
    let (open, gate) = gate();
    let finish = |text: &str| {
        let chunk = json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]});
        Act::Send(super::model_server::chunk(format!("data: {chunk}\n\n").as_bytes()))
    };
    server.script(vec![stream_head(), finish("Hello "), gate, finish("there"), done()]);
    fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the first word in the chat", || (fixture.stub.posted() == ["Hello"]).then_some(())).await;
    // The pause is under test: a reply that ends after two seconds without text would lose the rest.
    pace(Duration::from_millis(2_200)).await;
    open.send(()).unwrap();
    let ended = fixture.stub.ended().await;
    assert_eq!((ended.outcome, ended.reply.as_str()), (TurnOutcome::Done, "Hello there"));
}

#[actix::test]
async fn a_stopped_turn_closes_its_connection_at_once_before_and_after_the_first_word() {
    let plays = [vec![Act::Hold], vec![stream_head(), Act::Hold], vec![stream_head(), send_words(&["one"]), Act::Hold]];
    for play in plays {
        let (server, fixture) = fixture("");
        let sends_text = play.len() == 3;
        server.script(play);
        let (_, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
        until("the request", || (server.requests().len() == 1).then_some(())).await;
        if sends_text {
            until("the first word", || (!fixture.stub.posted().is_empty()).then_some(())).await;
        }
        let begun = Instant::now();
        Port::from(turn).tell(StopTurn { cause: StopCause::Command }).unwrap();
        until("the end of the call", || (server.gone() == 1).then_some(())).await;
        assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Stopped(StopCause::Command));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(fixture.stub.posted().len(), usize::from(sends_text), "a stopped turn posts no notice");
        assert_eq!(server.requests().len(), 1);
    }
}

#[actix::test]
async fn a_turn_that_is_stopped_between_two_tries_sends_no_further_request() {
    let (server, fixture) = fixture("");
    server.script(answered(503, "retry-after: 20\r\n", &json!({})));
    let (_, turn) = fixture.turn(&fixture.profile("default", &[]), TurnParams::default()).await;
    until("the request", || (server.requests().len() == 1).then_some(())).await;
    let begun = Instant::now();
    Port::from(turn).tell(StopTurn { cause: StopCause::Operator }).unwrap();
    assert_eq!(fixture.stub.ended().await.outcome, TurnOutcome::Stopped(StopCause::Operator));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.requests().len(), 1);
}

#[actix::test]
async fn a_missing_key_degrades_the_profile_by_name_and_no_request_is_sent_without_it() {
    let (server, fixture) = fixture("  api_key_env: MODEL_KEY\n");
    let profile = fixture.profile("default", &[]);
    fixture.turn(&profile, TurnParams::default()).await;
    assert_eq!(notice(&fixture.stub.ended().await), "The agent cannot be run.");
    let degraded = view(&profile).await;
    assert_eq!(degraded.state, ProfileState::Degraded);
    assert_eq!(degraded.troubles, ["agent.api_key_env needs MODEL_KEY, which is not set"]);
    assert_eq!(degraded.missing, ["MODEL_KEY"]);
    assert!(server.requests().is_empty());

    fs::write(fixture.home.path().join(".env"), "MODEL_KEY=sk-canary-7\n").unwrap();
    let answered = call(&fixture, &profile).await.unwrap().head.await.unwrap().unwrap();
    assert_eq!(answered.status, 200);
    assert_eq!(server.requests()[0].authorization.as_deref(), Some("Bearer sk-canary-7"));
    assert_eq!(view(&profile).await.state, ProfileState::Ready);
}

#[actix::test]
async fn a_named_profile_does_not_use_the_key_of_the_process() {
    let server = ModelServer::start();
    let fixture = Fixture::new(&yaml(&server.url(), "  api_key_env: MODEL_KEY\n"));
    let home = fixture.home.path();
    fs::create_dir_all(home.join("profiles/work")).unwrap();
    fs::write(home.join("config.yaml"), "gateway:\n  multiplex_profiles: true\n").unwrap();
    fs::write(home.join(".env"), "MODEL_KEY=sk-canary-home\n").unwrap();
    let work = fixture.profile("work", &[("MODEL_KEY", "sk-canary-process")]);
    assert!(matches!(call(&fixture, &work).await, Err(CallError::Unusable(_))));
    assert!(server.requests().is_empty());
}

#[actix::test]
async fn an_agent_that_is_a_command_is_not_called() {
    let fixture = Fixture::with_script("exit 0", "");
    assert!(matches!(call(&fixture, &fixture.profile("default", &[])).await, Err(CallError::NotAServer)));
}

#[actix::test]
async fn a_server_is_held_back_while_the_chat_does_not_take_text() {
    let (server, mut fixture) = fixture("");
    fixture.call_timings = CallTimings { idle: Duration::from_millis(300), ..CallTimings::default() };
    server.script(vec![stream_head(), Act::Flood(chunk(&[b'x'; 64 * 1024]))]);
    let call = call(&fixture, &fixture.profile("default", &[])).await.unwrap();
    call.head.await.unwrap().unwrap();
    let mut last = (0, Instant::now());
    let standing = || {
        let flooded = server.flooded();
        if flooded != last.0 {
            last = (flooded, Instant::now());
        }
        (flooded > 0 && last.1.elapsed() > Duration::from_secs(1)).then_some(flooded)
    };
    let flooded = until("the end of the flood", standing).await;
    assert!(flooded < 32 * 1024 * 1024, "{flooded} bytes are buffered");
    assert_eq!(server.gone(), 0, "a slow chat is not a timeout of the server");
    drop(call.body);
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}
