//! Turns whose agent is a chat completions server: a real one on loopback, which behaves as badly as a test wants.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use actix::Addr;
use caduceus_actors::ledger::messages::HistoryEntry;
use caduceus_actors::profile::messages::{
    AuthorisedCall, Call, CallError, GetAgent, GetProfile, ProfileState, ProfileView,
};
use caduceus_actors::profile::{CallTimings, ProfileActor};
use caduceus_actors::turn::id::TurnId;
use caduceus_actors::turn::messages::{StopCause, StopTurn, TurnEnded, TurnOutcome};
use caduceus_supervision::Port;
use serde_json::{Value, json};

use super::forms::{Ends, FORMS, FormServer};
use super::model_server::{Act, ModelServer, answered, chunk, done, gate, say, stream_head, streamed, word};
use super::support::{CEILING, House, Wish, until};

const BROKE_OFF: &str = "The answer broke off; this is all there is of it.";

fn yaml(base_url: &str, more: &str) -> String {
    format!("agent:\n  backend: openai\n  base_url: {base_url:?}\n  model: m1\n{more}")
}

/// A server, and a home whose agent it is.
fn house(more: &str) -> (ModelServer, House) {
    let server = ModelServer::start();
    let house = House::new(&yaml(&server.url(), more));
    (server, house)
}

async fn turn(house: &House) -> TurnEnded {
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    house.desk.ended().await
}

async fn view(profile: &Addr<ProfileActor>) -> ProfileView {
    Port::from(profile.clone()).ask(GetProfile, CEILING).await.unwrap()
}

fn notice(ended: &TurnEnded) -> &str {
    match &ended.outcome {
        TurnOutcome::Failed { notice, .. } => notice,
        other => panic!("{other:?} is not a failure"),
    }
}

async fn call(profile: &Addr<ProfileActor>) -> Result<Call, CallError> {
    let agent = Port::from(profile.clone()).ask(GetAgent, CEILING).await.unwrap();
    let order = AuthorisedCall { agent, turn: TurnId::fresh(), body: "{}".into() };
    Port::from(profile.clone()).ask(order, CEILING).await.unwrap()
}

#[actix::test]
async fn a_stream_is_understood_however_it_is_cut() {
    let words = ["Grüße, ", "", "中文 ", "😀😀", "\n```rust\nfn main() {}\n", "```\n", "end"];
    for (line_end, cut) in [("\n", usize::MAX), ("\r\n", 1), ("\n", 3), ("\r\n", 7), ("\r", 10)] {
        let (server, house) = house("");
        server.script(streamed(&words, line_end, cut));
        let ended = turn(&house).await;
        assert_eq!((&ended.outcome, ended.reply.as_str()), (&TurnOutcome::Done, words.concat().as_str()), "{cut}");
        assert_eq!(house.desk.posted(), [words.concat()], "{cut}");
    }
}

#[actix::test]
async fn the_server_gets_the_system_the_last_of_the_history_the_reference_text_and_the_key() {
    let (server, house) = house("  api_key_env: MODEL_KEY\n  system: Be brief.\n  history: 2\n");
    fs::write(house.home.path().join(".env"), "MODEL_KEY=sk-canary-7\n").unwrap();
    let entry = |role: &str, content: &str| HistoryEntry { role: role.into(), content: content.into() };
    let history = vec![entry("user", "forgotten"), entry("user", "one"), entry("assistant", "two")];
    let wish = Wish { text: "three", history, context: Some("[Recent channel messages]\nAnn: hi"), ..Wish::default() };
    house.turn(&house.profile("default", &[]), wish).await;
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    let [asked] = &server.asked()[..] else { panic!("not asked once") };
    assert_eq!(asked.line, "POST /v1/chat/completions");
    assert_eq!(asked.authorization.as_deref(), Some("Bearer sk-canary-7"));
    assert_eq!((&asked.body["model"], &asked.body["stream"]), (&json!("m1"), &json!(true)));
    let messages = asked.messages();
    let messages: Vec<_> = messages.iter().map(|(role, content)| (role.as_str(), content.as_str())).collect();
    let question = "[Recent channel messages]\nAnn: hi\n\n[New message]\nthree";
    assert_eq!(messages, [("system", "Be brief."), ("user", "one"), ("assistant", "two"), ("user", question)]);
}

#[actix::test]
async fn without_a_name_for_a_key_none_is_sent() {
    let (server, house) = house("");
    fs::write(house.home.path().join(".env"), "OPENAI_API_KEY=sk-canary-7\n").unwrap();
    turn(&house).await;
    assert_eq!(server.asked()[0].authorization, None);
}

#[actix::test]
async fn a_reply_grows_in_the_chat_while_the_server_still_speaks() {
    let (server, house) = house("");
    let (open, gate) = gate();
    server.script(vec![stream_head(), say(&["one "]), gate, say(&["two"]), done()]);
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the first word in the chat", || (house.desk.posted() == ["one"]).then_some(())).await;
    open.send(()).unwrap();
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Done);
    let sent = house.desk.sent();
    let last = sent.last().unwrap();
    assert_eq!((&last["op"], &last["content"]), (&json!("edit"), &json!("one two")));
    assert_eq!(house.desk.ledger().len(), 1, "the message is one obligation");
}

#[actix::test]
async fn a_server_that_does_not_stream_is_understood() {
    let (server, house) = house("");
    server.script(answered(200, "", &json!({"choices": [{"message": {"role": "assistant", "content": "Grüße"}}]})));
    assert_eq!(turn(&house).await.reply, "Grüße");
    assert_eq!(house.desk.posted(), ["Grüße"]);
}

#[actix::test]
async fn a_busy_and_a_failing_server_are_asked_again_after_as_long_as_they_want() {
    let (server, house) = house("");
    server.script(answered(429, "retry-after: 1\r\n", &json!({"error": {"message": "slow down"}})));
    server.script(answered(503, "", &json!({})));
    let ended = turn(&house).await;
    assert_eq!((ended.outcome, ended.reply.as_str()), (TurnOutcome::Done, "You said: hello"));
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[1].at - asked[0].at >= Duration::from_secs(1), "it was not left alone");
    assert!(asked[2].at - asked[1].at >= Duration::from_secs(1), "the second pause is the longer one");
    assert_eq!(house.desk.posted(), ["You said: hello"], "a failed try is no message");
}

#[actix::test]
async fn a_server_that_keeps_failing_is_given_up_after_the_third_time() {
    let (server, house) = house("");
    (0..4).for_each(|_| server.script(answered(500, "", &json!({"error": {"message": "sk-echo"}}))));
    let ended = turn(&house).await;
    assert_eq!(notice(&ended), "The agent's server failed with 500; please try again later.");
    assert_eq!(house.desk.posted(), [notice(&ended)]);
    assert_eq!(server.asked().len(), 3);
}

#[actix::test]
async fn what_cannot_get_better_is_not_tried_again_and_the_servers_words_stay_out_of_the_chat() {
    for (play, expected) in [
        (
            answered(401, "", &json!({"error": {"message": "bad key sk-echo"}})),
            "The agent's server refused the request with 401.",
        ),
        (answered(429, "retry-after: 3600\r\n", &json!({})), "The agent has too much to do; please try again later."),
        (answered(200, "", &json!({"error": {"message": "sk-echo"}})), "The agent's server reported an error."),
        (answered(200, "", &json!({"choices": [{"message": {"content": null}}]})), "The agent gave no answer."),
        (streamed(&[], "\n", 9), "The agent gave no answer."),
    ] {
        let (server, house) = house("");
        server.script(play);
        assert_eq!(notice(&turn(&house).await), expected);
        assert_eq!((house.desk.posted().len(), server.asked().len()), (1, 1), "{expected}");
    }
}

#[actix::test]
async fn an_answer_is_the_same_in_every_form_that_servers_use() {
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let body = format!("{}{}{finish}", word("Grüße, ", "\n"), word("all of it", "\n"));
    let turns = FORMS.map(|(form, ends)| {
        let body = body.clone();
        async move {
            let server = FormServer::start(move |_| (form.to_owned(), "text/event-stream", body.clone().into()));
            let mut house = House::new(&yaml(&format!("{}/v1", server.url()), ""));
            if ends == Ends::Never {
                house.call_timings.idle = Duration::from_millis(300);
            }
            let ended = turn(&house).await;
            let (expected, tries): (&[&str], _) = match ends {
                Ends::Whole => {
                    assert_eq!(
                        (&ended.outcome, ended.reply.as_str()),
                        (&TurnOutcome::Done, "Grüße, all of it"),
                        "{form}"
                    );
                    (&["Grüße, all of it"], 1)
                }
                Ends::Unreadable => (&["The agent's answer makes no sense."], 1),
                Ends::Redirect => (&["The agent's server refused the request with 307."], 1),
                Ends::Closed => (&["The agent's answer did not arrive; please try again later."], 3),
                Ends::Never if form == "never" => (&["The agent did not answer in time; please try again later."], 3),
                // Half of the body holds the first word.
                Ends::Cut | Ends::Never => (&["Grüße,", BROKE_OFF], 1),
            };
            let posted: Vec<String> = house.desk.posted();
            assert_eq!(posted, expected, "{form}");
            assert_eq!(server.requests(), tries, "{form}");
        }
    });
    futures_util::future::join_all(turns).await;
}

#[actix::test]
async fn a_pause_after_the_models_last_word_may_be_followed_by_more() {
    let (server, house) = house("");
    let (open, gate) = gate();
    let finish = |text: &str| {
        let chunk = json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]});
        Act::Say(super::model_server::chunk(format!("data: {chunk}\n\n").as_bytes()))
    };
    server.script(vec![stream_head(), finish("Hello "), gate, finish("there"), done()]);
    house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the first word in the chat", || (house.desk.posted() == ["Hello"]).then_some(())).await;
    // Longer than was once waited for.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    open.send(()).unwrap();
    let ended = house.desk.ended().await;
    assert_eq!((ended.outcome, ended.reply.as_str()), (TurnOutcome::Done, "Hello there"));
}

#[actix::test]
async fn an_answer_with_a_hole_ends_before_it_and_one_that_is_cut_short_says_so() {
    let end = |finish: &str| {
        let chunk = json!({"choices": [{"delta": {}, "finish_reason": finish}]});
        Act::Say(super::model_server::chunk(format!("data: {chunk}\n\n").as_bytes()))
    };
    let hole = || Act::Say(chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"but never\n\n"));
    for (acts, failed, expected) in [
        (vec![hole(), say(&["and C"])], true, "The answer ends here: its next part could not be read."),
        (vec![end("length")], false, "The answer ends here because it reached the model's limit of length."),
        (vec![end("content_filter")], false, "The rest of the answer was held back by the model's content filter."),
        (vec![end("error")], true, BROKE_OFF),
    ] {
        let (server, house) = house("");
        server.script([stream_head(), say(&["to A"])].into_iter().chain(acts).chain([done()]).collect());
        let ended = turn(&house).await;
        assert_eq!((ended.reply.as_str(), ended.outcome != TurnOutcome::Done), ("to A", failed), "{expected}");
        assert_eq!(house.desk.posted(), ["to A", expected]);
        assert_eq!(server.asked().len(), 1, "{expected}");
    }
}

#[actix::test]
async fn an_error_that_passes_is_asked_about_again_also_where_the_status_is_well() {
    let (server, house) = house("");
    server.script(answered(200, "", &json!({"error": {"message": "try again", "code": 429}})));
    server.script(answered(408, "", &Value::Null));
    assert_eq!(turn(&house).await.reply, "You said: hello");
    assert_eq!(server.asked().len(), 3);
}

#[actix::test]
async fn an_error_in_the_midst_of_a_stream_keeps_what_was_said() {
    let (server, house) = house("");
    let error = chunk(b"data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
    server.script(vec![stream_head(), say(&["so far"]), Act::Say(error)]);
    assert_eq!(notice(&turn(&house).await), BROKE_OFF);
    assert_eq!(house.desk.posted(), ["so far", BROKE_OFF]);
    assert_eq!(server.asked().len(), 1);
}

#[actix::test]
async fn an_answer_that_stops_half_way_stays_and_is_said_to_have_broken_off() {
    // After an event, within a chunk, within a character; and after a clean end of the body without a word that it is the end.
    let half_a_chunk = [b"100\r\n".as_slice(), word(" never", "\n").as_bytes()].concat();
    let event = word(" never ä", "\n");
    let half_a_character = chunk(&event.as_bytes()[..=event.find('ä').unwrap()]);
    for rest in [Vec::new(), half_a_chunk, half_a_character, b"0\r\n\r\n".to_vec()] {
        let (server, house) = house("");
        server.script(vec![stream_head(), say(&["so ", "far"]), Act::Say(rest.clone())]);
        let ended = turn(&house).await;
        assert_eq!(notice(&ended), BROKE_OFF, "{rest:?}");
        assert!(ended.reply.starts_with("so far"), "{}", ended.reply);
        assert_eq!(house.desk.posted(), [ended.reply.as_str(), BROKE_OFF], "{rest:?}");
        assert_eq!(server.asked().len(), 1, "what was said is not asked for again");
    }
}

#[actix::test]
async fn an_answer_that_broke_before_its_first_word_is_asked_for_again() {
    let (server, house) = house("");
    server.script(Vec::new());
    server.script(vec![stream_head(), Act::Say(chunk(b": wait\n\n"))]);
    assert_eq!(turn(&house).await.reply, "You said: hello");
    assert_eq!(server.asked().len(), 3);
}

#[actix::test]
async fn a_server_that_never_answers_is_asked_three_times_and_then_given_up() {
    let (server, mut house) = house("");
    house.call_timings.idle = Duration::from_millis(300);
    (0..3).for_each(|_| server.script(vec![Act::Hold]));
    assert_eq!(notice(&turn(&house).await), "The agent did not answer in time; please try again later.");
    assert_eq!(server.asked().len(), 3);
    until("the end of each call", || (server.gone() == 3).then_some(())).await;
}

#[actix::test]
async fn a_server_that_falls_silent_half_way_is_not_waited_for() {
    let (server, mut house) = house("");
    house.call_timings.idle = Duration::from_millis(300);
    server.script(vec![stream_head(), say(&["so far"]), Act::Hold]);
    assert_eq!(notice(&turn(&house).await), BROKE_OFF);
    assert_eq!((house.desk.posted().len(), server.asked().len()), (2, 1));
}

#[actix::test]
async fn a_server_that_is_done_and_does_not_hang_up_does_not_keep_the_turn() {
    let (server, house) = house("");
    server.script(vec![stream_head(), say(&["all"]), Act::Say(chunk(b"data: [DONE]\n\n")), Act::Hold]);
    let begun = Instant::now();
    assert_eq!(turn(&house).await.outcome, TurnOutcome::Done);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}

#[actix::test]
async fn a_server_that_is_not_there_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let house = House::new(&yaml(&format!("http://{address}/v1"), ""));
    let begun = Instant::now();
    assert_eq!(notice(&turn(&house).await), "The agent could not be reached; please try again later.");
    assert!(begun.elapsed() >= Duration::from_millis(1_250), "it was not tried again");
}

#[actix::test]
async fn a_turn_that_takes_too_long_ends_with_its_call() {
    let (server, house) = house("  timeout_s: 2\n");
    server.script(vec![stream_head(), say(&["so far"]), Act::Hold]);
    assert_eq!(notice(&turn(&house).await), "The agent took longer than 2 seconds and was stopped.");
    assert_eq!(house.desk.posted()[0], "so far");
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}

#[actix::test]
async fn a_stopped_turn_ends_its_call_at_once_whatever_it_waits_for() {
    let plays = [vec![Act::Hold], vec![stream_head(), Act::Hold], vec![stream_head(), say(&["one"]), Act::Hold]];
    for play in plays {
        let (server, house) = house("");
        let speaks = play.len() == 3;
        server.script(play);
        let (_, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
        until("the question", || (server.asked().len() == 1).then_some(())).await;
        if speaks {
            until("the first word", || (!house.desk.posted().is_empty()).then_some(())).await;
        }
        let begun = Instant::now();
        Port::from(turn).tell(StopTurn { cause: StopCause::Asked }).unwrap();
        until("the end of the call", || (server.gone() == 1).then_some(())).await;
        assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Stopped(StopCause::Asked));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(house.desk.posted().len(), usize::from(speaks), "a stopped turn posts no notice");
        assert_eq!(server.asked().len(), 1);
    }
}

#[actix::test]
async fn a_turn_that_is_stopped_while_it_waits_to_ask_again_asks_no_more() {
    let (server, house) = house("");
    server.script(answered(503, "retry-after: 20\r\n", &json!({})));
    let (_, turn) = house.turn(&house.profile("default", &[]), Wish::default()).await;
    until("the question", || (server.asked().len() == 1).then_some(())).await;
    let begun = Instant::now();
    Port::from(turn).tell(StopTurn { cause: StopCause::Operator }).unwrap();
    assert_eq!(house.desk.ended().await.outcome, TurnOutcome::Stopped(StopCause::Operator));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(server.asked().len(), 1);
}

#[actix::test]
async fn a_flood_ends_the_turn_with_a_notice_and_the_call_with_it() {
    let (server, house) = house("");
    server.script(vec![stream_head(), Act::Flood(chunk(word(&"flood ".repeat(1_000), "\n").as_bytes()))]);
    assert!(notice(&turn(&house).await).contains("4 MiB"));
    assert!(house.desk.posted().len() < 50, "{} messages", house.desk.posted().len());
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}

#[actix::test]
async fn a_redirect_takes_the_key_nowhere() {
    let elsewhere = ModelServer::start();
    let (server, house) = house("  api_key_env: MODEL_KEY\n");
    fs::write(house.home.path().join(".env"), "MODEL_KEY=sk-canary-7\n").unwrap();
    server.script(answered(307, &format!("location: {}/chat/completions\r\n", elsewhere.url()), &Value::Null));
    assert_eq!(notice(&turn(&house).await), "The agent's server refused the request with 307.");
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (1, 0));
}

#[actix::test]
async fn a_missing_key_degrades_the_profile_with_its_name_and_nothing_is_asked_until_it_is_there() {
    let (server, house) = house("  api_key_env: MODEL_KEY\n");
    let profile = house.profile("default", &[]);
    house.turn(&profile, Wish::default()).await;
    assert_eq!(notice(&house.desk.ended().await), "The agent cannot be run.");
    let degraded = view(&profile).await;
    assert_eq!(degraded.state, ProfileState::Degraded);
    assert_eq!(degraded.troubles, ["agent.api_key_env needs MODEL_KEY, which is not set"]);
    assert_eq!(degraded.missing, ["MODEL_KEY"]);
    assert!(server.asked().is_empty());

    fs::write(house.home.path().join(".env"), "MODEL_KEY=sk-canary-7\n").unwrap();
    let answered = call(&profile).await.unwrap().head.await.unwrap().unwrap();
    assert_eq!(answered.status, 200);
    assert_eq!(server.asked()[0].authorization.as_deref(), Some("Bearer sk-canary-7"));
    assert_eq!(view(&profile).await.state, ProfileState::Ready);
}

#[actix::test]
async fn a_key_of_the_process_is_no_key_of_a_named_profile() {
    let server = ModelServer::start();
    let house = House::new(&yaml(&server.url(), "  api_key_env: MODEL_KEY\n"));
    let home = house.home.path();
    fs::create_dir_all(home.join("profiles/work")).unwrap();
    fs::write(home.join("config.yaml"), "gateway:\n  multiplex_profiles: true\n").unwrap();
    fs::write(home.join(".env"), "MODEL_KEY=sk-canary-home\n").unwrap();
    let work = house.profile("work", &[("MODEL_KEY", "sk-canary-process")]);
    assert!(matches!(call(&work).await, Err(CallError::Unusable(_))));
    assert!(server.asked().is_empty());
}

#[actix::test]
async fn an_agent_that_is_a_command_is_not_called() {
    let house = House::with_script("exit 0", "");
    assert!(matches!(call(&house.profile("default", &[])).await, Err(CallError::NotAServer)));
}

#[actix::test]
async fn a_server_waits_for_a_listener_that_does_not_read() {
    let (server, mut house) = house("");
    house.call_timings = CallTimings { idle: Duration::from_millis(300), ..CallTimings::default() };
    server.script(vec![stream_head(), Act::Flood(chunk(&[b'x'; 64 * 1024]))]);
    let call = call(&house.profile("default", &[])).await.unwrap();
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
    assert!(flooded < 32 * 1024 * 1024, "{flooded} bytes are held somewhere");
    assert_eq!(server.gone(), 0, "a listener that takes its time is no silent server");
    drop(call.body);
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}
