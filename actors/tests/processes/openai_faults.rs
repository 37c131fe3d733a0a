//! Faults of a chat completions server: errors, broken and stalled streams, floods, redirects. What is retried, and the notice in the chat.

use std::fs;
use std::time::{Duration, Instant};

use caduceus_contract::messages::turn::TurnOutcome;
use serde_json::{Value, json};

use super::model_server::{Act, ModelServer, answered, chunk, done, send_words, stream_head, streamed, word};
use super::openai::{BROKE_OFF, fixture, notice, turn, yaml};
use super::refusing::refusing;
use super::support::Fixture;
use super::wait::until;

#[actix::test]
async fn a_busy_and_a_failing_server_are_retried_after_retry_after_or_a_backoff() {
    let (server, fixture) = fixture("");
    server.script(answered(429, "retry-after: 1\r\n", &json!({"error": {"message": "slow down"}})));
    server.script(answered(503, "", &json!({})));
    let ended = turn(&fixture).await;
    assert_eq!((ended.outcome, ended.reply.as_str()), (TurnOutcome::Done, "Repeated: hello"));
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1), "it was retried before its `Retry-After`");
    assert!(requests[2].at - requests[1].at >= Duration::from_secs(1), "the second pause is the longer one");
    assert_eq!(fixture.stub.posted(), ["Repeated: hello"], "a failed try posts no message");
}

#[actix::test]
async fn a_turn_fails_after_the_third_server_error() {
    let (server, fixture) = fixture("");
    (0..4).for_each(|_| server.script(answered(500, "", &json!({"error": {"message": "sk-echo"}}))));
    let ended = turn(&fixture).await;
    assert_eq!(notice(&ended), "The agent's server failed with 500; please try again later.");
    assert_eq!(fixture.stub.posted(), [notice(&ended)]);
    assert_eq!(server.requests().len(), 3);
}

#[actix::test]
async fn permanent_errors_are_not_retried_and_the_servers_error_text_is_not_posted() {
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
        let (server, fixture) = fixture("");
        server.script(play);
        assert_eq!(notice(&turn(&fixture).await), expected);
        assert_eq!((fixture.stub.posted().len(), server.requests().len()), (1, 1), "{expected}");
    }
}

#[actix::test]
async fn a_reply_with_a_gap_ends_before_it_and_every_early_end_gets_a_notice() {
    let end = |finish: &str| {
        let chunk = json!({"choices": [{"delta": {}, "finish_reason": finish}]});
        Act::Send(super::model_server::chunk(format!("data: {chunk}\n\n").as_bytes()))
    };
    let gap = || Act::Send(chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"but never\n\n"));
    for (acts, failed, expected) in [
        (vec![gap(), send_words(&["and C"])], true, "The answer ends here: its next part could not be read."),
        (vec![end("length")], false, "The answer ends here because it reached the model's limit of length."),
        (vec![end("content_filter")], false, "The rest of the answer was held back by the model's content filter."),
        (vec![end("error")], true, BROKE_OFF),
    ] {
        let (server, fixture) = fixture("");
        server.script([stream_head(), send_words(&["to A"])].into_iter().chain(acts).chain([done()]).collect());
        let ended = turn(&fixture).await;
        assert_eq!((ended.reply.as_str(), ended.outcome != TurnOutcome::Done), ("to A", failed), "{expected}");
        assert_eq!(fixture.stub.posted(), ["to A", expected]);
        assert_eq!(server.requests().len(), 1, "{expected}");
    }
}

#[actix::test]
async fn a_temporary_error_is_retried_even_with_status_200() {
    let (server, fixture) = fixture("");
    server.script(answered(200, "", &json!({"error": {"message": "try again", "code": 429}})));
    server.script(answered(408, "", &Value::Null));
    assert_eq!(turn(&fixture).await.reply, "Repeated: hello");
    assert_eq!(server.requests().len(), 3);
}

#[actix::test]
async fn an_error_in_the_middle_of_a_stream_keeps_the_text_before_it() {
    let (server, fixture) = fixture("");
    let error = chunk(b"data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
    server.script(vec![stream_head(), send_words(&["so far"]), Act::Send(error)]);
    assert_eq!(notice(&turn(&fixture).await), BROKE_OFF);
    assert_eq!(fixture.stub.posted(), ["so far", BROKE_OFF]);
    assert_eq!(server.requests().len(), 1);
}

#[actix::test]
async fn a_partial_answer_is_kept_and_followed_by_a_notice() {
    // After an event, within a chunk, within a character; and at an orderly end of the body without the final event.
    let half_a_chunk = [b"100\r\n".as_slice(), word(" never", "\n").as_bytes()].concat();
    let event = word(" never ä", "\n");
    let half_a_character = chunk(&event.as_bytes()[..=event.find('ä').unwrap()]);
    for rest in [Vec::new(), half_a_chunk, half_a_character, b"0\r\n\r\n".to_vec()] {
        let (server, fixture) = fixture("");
        server.script(vec![stream_head(), send_words(&["so ", "far"]), Act::Send(rest.clone())]);
        let ended = turn(&fixture).await;
        assert_eq!(notice(&ended), BROKE_OFF, "{rest:?}");
        assert!(ended.reply.starts_with("so far"), "{}", ended.reply);
        assert_eq!(fixture.stub.posted(), [ended.reply.as_str(), BROKE_OFF], "{rest:?}");
        assert_eq!(server.requests().len(), 1, "a partly posted reply is not requested again");
    }
}

#[actix::test]
async fn an_answer_that_broke_off_before_its_first_word_is_requested_again() {
    let (server, fixture) = fixture("");
    server.script(Vec::new());
    server.script(vec![stream_head(), Act::Send(chunk(b": wait\n\n"))]);
    assert_eq!(turn(&fixture).await.reply, "Repeated: hello");
    assert_eq!(server.requests().len(), 3);
}

#[actix::test]
async fn a_turn_fails_after_three_requests_without_an_answer() {
    let (server, mut fixture) = fixture("");
    fixture.call_timings.idle = Duration::from_millis(300);
    (0..3).for_each(|_| server.script(vec![Act::Hold]));
    assert_eq!(notice(&turn(&fixture).await), "The agent did not answer in time; please try again later.");
    assert_eq!(server.requests().len(), 3);
    until("the end of each call", || (server.gone() == 3).then_some(())).await;
}

#[actix::test]
async fn a_stream_that_stalls_ends_the_turn_at_its_timeout() {
    let (server, mut fixture) = fixture("");
    fixture.call_timings.idle = Duration::from_millis(300);
    server.script(vec![stream_head(), send_words(&["so far"]), Act::Hold]);
    assert_eq!(notice(&turn(&fixture).await), BROKE_OFF);
    assert_eq!((fixture.stub.posted().len(), server.requests().len()), (2, 1));
}

#[actix::test]
async fn a_connection_left_open_after_the_final_event_does_not_delay_the_turn() {
    let (server, fixture) = fixture("");
    server.script(vec![stream_head(), send_words(&["all"]), Act::Send(chunk(b"data: [DONE]\n\n")), Act::Hold]);
    let begun = Instant::now();
    assert_eq!(turn(&fixture).await.outcome, TurnOutcome::Done);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}

#[actix::test]
async fn a_refused_connection_gets_a_notice_of_its_own() {
    let (_socket, address) = refusing();
    let fixture = Fixture::new(&yaml(&format!("http://{address}/v1"), ""));
    let begun = Instant::now();
    assert_eq!(notice(&turn(&fixture).await), "The agent could not be reached; please try again later.");
    assert!(begun.elapsed() >= Duration::from_millis(1_250), "it was not retried");
}

#[actix::test]
async fn a_turn_that_exceeds_its_time_limit_ends_and_closes_its_connection() {
    let (server, fixture) = fixture("  timeout_s: 2\n");
    server.script(vec![stream_head(), send_words(&["so far"]), Act::Hold]);
    assert_eq!(notice(&turn(&fixture).await), "The agent took longer than 2 seconds and was stopped.");
    assert_eq!(fixture.stub.posted()[0], "so far");
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}

#[actix::test]
async fn a_flood_ends_the_turn_with_a_notice_and_closes_the_connection() {
    let (server, fixture) = fixture("");
    server.script(vec![stream_head(), Act::Flood(chunk(word(&"flood ".repeat(1_000), "\n").as_bytes()))]);
    assert!(notice(&turn(&fixture).await).contains("4 MiB"));
    assert!(fixture.stub.posted().len() < 50, "{} messages", fixture.stub.posted().len());
    until("the end of the call", || (server.gone() == 1).then_some(())).await;
}

#[actix::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let elsewhere = ModelServer::start();
    let (server, fixture) = fixture("  api_key_env: MODEL_KEY\n");
    fs::write(fixture.home.path().join(".env"), "MODEL_KEY=sk-canary-7\n").unwrap();
    server.script(answered(307, &format!("location: {}/chat/completions\r\n", elsewhere.url()), &Value::Null));
    assert_eq!(notice(&turn(&fixture).await), "The agent's server refused the request with 307.");
    assert_eq!((server.requests().len(), elsewhere.requests().len()), (1, 0));
}
