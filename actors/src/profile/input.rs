//! The standard input of an agent, with two writers: its turn, and the profile when the grant's token changes.
//!
//! The profile makes an [`AgentInput`] with the pipe and the end of a channel in it, and the turn runs it. The contents of that
//! channel go into that pipe and nowhere else: neither the turn nor another part can read them. One task writes for
//! both, so lines are never interleaved; an agent that does not read blocks that task alone.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::child_env::HONCHO_API_KEY;
use super::redact::{Lease, Redactor};

/// The token of a profile's grant on its way to the running agents: only the newest matters.
#[derive(Debug)]
pub(super) struct TokenSender(watch::Sender<Option<NewToken>>);

/// A token, and the lease that keeps it out of the log until each receiver has one.
#[derive(Debug)]
struct NewToken(SecretString, Lease);

impl TokenSender {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Sends the token to every subscribed agent.
    pub(super) fn send(&self, token: Option<&SecretString>, redactor: &Redactor) {
        let new = token.map(|token| NewToken(token.clone(), redactor.lease_value(HONCHO_API_KEY, token)));
        self.0.send_replace(new);
    }

    /// Receives the tokens from now on, for an agent whose `secrets` are kept out of the log.
    pub(super) fn subscribe(&self, secrets: &Lease) -> TokenReceiver {
        TokenReceiver { channel: self.0.subscribe(), secrets: secrets.clone() }
    }
}

/// Receives each token that replaces the last, for one agent. Opaque.
pub(super) struct TokenReceiver {
    channel: watch::Receiver<Option<NewToken>>,
    /// The tokens are kept out of the log as long as the values of the start: the agent may write a token long after it was
    /// replaced or its grant was removed.
    secrets: Lease,
}

/// The writing end of an agent's standard input.
pub struct AgentInput {
    pipe: OwnedFd,
    /// `None` for an agent that receives no new token.
    token: Option<TokenReceiver>,
}

impl fmt::Debug for AgentInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentInput").field("pipe", &self.pipe).finish_non_exhaustive()
    }
}

/// A line for the agent.
#[derive(Serialize)]
#[serde(tag = "type", rename = "credential")]
struct CredentialLine<'a> {
    name: &'a str,
    value: &'a str,
}

impl AgentInput {
    pub(super) fn new(pipe: OwnedFd, token: Option<TokenReceiver>) -> Self {
        Self { pipe, token }
    }

    /// Writes the `lines` of the turn, and between them a changed token. Completes once the turn has no more lines, which closes
    /// the agent's input. Nothing more is written to an agent that has closed its end.
    ///
    /// # Errors
    /// The system's error for the pipe, before anything is written.
    pub fn serve(self, lines: mpsc::Receiver<String>) -> io::Result<impl Future<Output = ()> + use<>> {
        let pipe = pipe::Sender::from_owned_fd(self.pipe)?;
        Ok(write(pipe, lines, self.token))
    }
}

async fn write(mut pipe: pipe::Sender, mut lines: mpsc::Receiver<String>, mut token: Option<TokenReceiver>) {
    loop {
        let line = tokio::select! {
            // The turn's lines first: they begin with the document, which an agent expects before everything else.
            biased;
            line = lines.recv() => match line {
                Some(line) => Zeroizing::new(line),
                None => return,
            },
            line = changed(&mut token) => line,
        };
        if pipe.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The line with the next token; never completes for an agent that receives none. The removal of a grant is not sent.
async fn changed(token: &mut Option<TokenReceiver>) -> Zeroizing<String> {
    while let Some(TokenReceiver { channel, secrets }) = token {
        if channel.changed().await.is_err() {
            // The profile was restarted: no more tokens arrive.
            *token = None;
        } else if let Some(NewToken(value, lease)) = &*channel.borrow_and_update() {
            secrets.extend(lease);
            return credential(value);
        }
    }
    std::future::pending().await
}

fn credential(value: &SecretString) -> Zeroizing<String> {
    let credential = CredentialLine { name: HONCHO_API_KEY, value: value.expose_secret() };
    // Room for escapes, so that a growing buffer leaves no copy behind.
    let mut line = Zeroizing::new(Vec::with_capacity(64 + 6 * value.expose_secret().len()));
    serde_json::to_writer(&mut *line, &credential).expect("two texts have a JSON form");
    line.push(b'\n');
    Zeroizing::new(String::from_utf8(std::mem::take(&mut *line)).expect("JSON is UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, Read};
    use std::time::Duration;

    use super::*;

    const CEILING: Duration = Duration::from_secs(20);

    /// An agent that receives new tokens, the sender of its lines, and the reader of its input.
    fn agent(tokens: &TokenSender) -> (mpsc::Sender<String>, impl Future<Output = ()> + use<>, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let (lines, queue) = mpsc::channel(8);
        let input = AgentInput::new(writer.into(), Some(tokens.subscribe(&Redactor::default().lease("work"))));
        (lines, input.serve(queue).unwrap(), reader)
    }

    fn send_token(tokens: &TokenSender, token: Option<&str>) {
        tokens.send(token.map(SecretString::from).as_ref(), &Redactor::default());
    }

    fn lines(reader: PipeReader) -> Vec<String> {
        BufReader::new(reader).lines().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn the_document_is_first_and_of_several_changes_only_the_newest_is_sent() {
        let tokens = TokenSender::new();
        let (turn, serving, reader) = agent(&tokens);
        send_token(&tokens, Some("one"));
        send_token(&tokens, Some("t\"wo"));
        turn.try_send("document\n".to_owned()).unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::new(reader);
            let mut read = || {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                line
            };
            [read(), read()]
        });
        let reading = tokio::time::timeout(CEILING, reading);
        tokio::select! {
            read = reading => assert_eq!(
                read.unwrap().unwrap(),
                ["document\n", "{\"type\":\"credential\",\"name\":\"HONCHO_API_KEY\",\"value\":\"t\\\"wo\"}\n"]
            ),
            () = serving => panic!("it ended while the turn may still write"),
        }
    }

    #[tokio::test]
    async fn an_agent_receives_no_earlier_token_and_no_removal() {
        let tokens = TokenSender::new();
        send_token(&tokens, Some("before"));
        let (turn, serving, reader) = agent(&tokens);
        turn.try_send("document\n".to_owned()).unwrap();
        send_token(&tokens, None);
        drop(turn);
        serving.await;
        assert_eq!(lines(reader), ["document"]);
    }

    #[actix::test]
    async fn a_line_longer_than_the_pipe_is_not_cut_in_two_by_a_token() {
        let tokens = TokenSender::new();
        let (turn, serving, mut reader) = agent(&tokens);
        let long = format!("{}\n", "x".repeat(1_000_000));
        turn.try_send(long.clone()).unwrap();
        let serving = caduceus_supervision::spawn(serving);
        // The pipe is full by now, and the line is incomplete.
        let mut first = [0; 1_000];
        let mut reader = tokio::task::spawn_blocking(move || {
            reader.read_exact(&mut first).unwrap();
            reader
        })
        .await
        .unwrap();
        send_token(&tokens, Some("token"));
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            let mut whole = BufReader::new(&mut reader);
            whole.read_line(&mut text).unwrap();
            whole.read_line(&mut text).unwrap();
            text
        });
        let text = tokio::time::timeout(CEILING, reading).await.unwrap().unwrap();
        assert!(text.starts_with(&long[1_000..]) && text.ends_with("\"value\":\"token\"}\n"));
        drop(turn);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn without_its_profile_a_turn_can_still_write() {
        let tokens = TokenSender::new();
        let (turn, serving, reader) = agent(&tokens);
        drop(tokens);
        turn.try_send("document\n".to_owned()).unwrap();
        drop(turn);
        serving.await;
        assert_eq!(lines(reader), ["document"]);
    }
}
