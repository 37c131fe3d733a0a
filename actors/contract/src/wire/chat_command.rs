//! A command in a chat that the gateway itself answers.

/// A command that the gateway itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatCommand {
    /// Stop the running turn of this session.
    Stop,
    /// Answer with the running turns.
    Status,
    /// Run again the event whose turn a restart interrupted.
    Retry,
}

impl ChatCommand {
    /// The command in a message, if it is one of the gateway's. Other messages go to the agent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // In a group some platforms append the bot's name: `/stop@bot`.
        match text.trim().split('@').next()? {
            "/stop" => Some(Self::Stop),
            "/status" => Some(Self::Status),
            "/retry" => Some(Self::Retry),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_of_the_gateway_are_parsed() {
        assert_eq!(ChatCommand::parse(" /stop "), Some(ChatCommand::Stop));
        assert_eq!(ChatCommand::parse("/stop@gateway_bot"), Some(ChatCommand::Stop));
        assert_eq!(ChatCommand::parse("/stopping"), None);
        assert_eq!(ChatCommand::parse("please /stop"), None);
    }
}
