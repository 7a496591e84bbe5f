//! From a generation to text as it comes, and a record of it.

use crate::experts::ExpertsUsed;
use crate::failure::Result;
use crate::terminal::dim;
use serde::Serialize;
use tern::{Error, Event, StopReason, Timings, TokenEvent};

/// All there is to tell about a generation. Its JSON form is an interface.
#[derive(Debug, Serialize)]
pub struct Answer {
    pub prompt_tokens: Vec<u32>,
    pub tokens: Vec<u32>,
    pub text: String,
    /// In nats, of the raw distribution; empty where they were not asked for.
    pub logprobs: Vec<f32>,
    pub stop: &'static str,
    pub timings: Times,
    pub reused_tokens: usize,
    /// Only where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Drafted>,
    /// Only of experts on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsUsed>,
    /// Tokens of the prompt that were not there before.
    #[serde(skip)]
    pub fresh_tokens: usize,
    #[serde(skip)]
    pub reason: StopReason,
}

/// Drafts of speculative decoding, and those that came true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Drafted {
    pub proposed: usize,
    pub accepted: usize,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
pub struct Times {
    pub load_ms: f64,
    pub prompt_ms: f64,
    pub generate_ms: f64,
}

impl Answer {
    /// Runs `events` to their end. `show` gets each piece of text, with the token where it is one's.
    pub fn collect(
        events: impl Iterator<Item = std::result::Result<Event, Error>>,
        mut show: impl FnMut(&str, Option<&TokenEvent>) -> Result<()>,
    ) -> Result<Self> {
        let mut answer = Self {
            prompt_tokens: Vec::new(),
            tokens: Vec::new(),
            text: String::new(),
            logprobs: Vec::new(),
            stop: StopReason::Cancelled.as_str(),
            timings: Times { load_ms: 0.0, prompt_ms: 0.0, generate_ms: 0.0 },
            reused_tokens: 0,
            speculation: None,
            experts: None,
            fresh_tokens: 0,
            reason: StopReason::Cancelled,
        };
        for event in events {
            match event {
                Ok(Event::Token(token)) => {
                    answer.tokens.push(token.id);
                    answer.logprobs.extend(token.logprob);
                    answer.text.push_str(&token.text);
                    show(&token.text, Some(&token))?;
                }
                Ok(Event::Done(finish)) => {
                    answer.text.push_str(&finish.text);
                    answer.reason = finish.reason;
                    answer.stop = finish.reason.as_str();
                    let Timings { proposed_tokens: proposed, accepted_tokens: accepted, .. } = finish.timings;
                    answer.speculation = (proposed > 0).then_some(Drafted { proposed, accepted });
                    answer.reused_tokens = finish.timings.reused_tokens;
                    answer.fresh_tokens = finish.timings.prompt_tokens;
                    answer.timings.prompt_ms = finish.timings.prompt_ms;
                    answer.timings.generate_ms = finish.timings.generate_ms;
                    show(&finish.text, None)?;
                }
                // Stopped before its first token; what there is, is still told.
                Err(error) if error.is_cancelled() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(answer)
    }

    /// Tokens computed per second, without the prompt's. The first token comes out of the prompt; the last one is
    /// computed with only where the model went on to say that it is done, or to another one.
    pub fn tokens_per_second(&self) -> f64 {
        let unused = matches!(self.reason, StopReason::Length | StopReason::StopString);
        rate(self.tokens.len().saturating_sub(usize::from(unused)), self.timings.generate_ms)
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let (fresh, reused) = (self.fresh_tokens, self.reused_tokens);
        let drafts =
            self.speculation.map_or_else(String::new, |d| format!(", {} of {} drafts right", d.accepted, d.proposed));
        let experts = ExpertsUsed::added(self.experts);
        let kept = if reused > 0 { format!(" after {reused} known ones") } else { String::new() };
        let line = format!(
            "[prompt: {fresh} tokens{kept} in {:.0} ms, {:.0}/s; {} tokens in {:.0} ms, {:.1}/s{drafts}{experts}; stop: {}]",
            self.timings.prompt_ms,
            rate(fresh, self.timings.prompt_ms),
            self.tokens.len(),
            self.timings.generate_ms,
            self.tokens_per_second(),
            self.stop,
        );
        dim(&line).into_owned()
    }
}

/// Events per second; 0 where no time passed.
pub fn rate(count: usize, ms: f64) -> f64 {
    if ms > 0.0 { count as f64 / ms * 1e3 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern::Finish;

    #[test]
    fn the_record_is_the_interface() {
        let token =
            |id, text: &str| Ok(Event::Token(TokenEvent { id, text: text.into(), logprob: Some(-0.5), at_ms: 1.0 }));
        let timings = Timings {
            prompt_ms: 1.5,
            generate_ms: 20.0,
            reused_tokens: 3,
            generated_tokens: 2,
            prompt_tokens: 4,
            ..Timings::default()
        };
        let done = Finish { reason: StopReason::StopString, text: "!".into(), stop_string: None, timings };
        let mut shown = String::new();
        let events = vec![token(7, "Hel"), token(8, "lo"), Ok(Event::Done(done))];
        let answer = Answer::collect(events.into_iter(), |text, _| {
            shown.push_str(text);
            Ok(())
        });
        let answer = answer.unwrap();
        assert_eq!(shown, "Hello!");
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"prompt_tokens":[],"tokens":[7,8],"text":"Hello!","logprobs":[-0.5,-0.5],"stop":"string","timings":{"load_ms":0.0,"prompt_ms":1.5,"generate_ms":20.0},"reused_tokens":3}"#
        );
        assert_eq!(answer.tokens_per_second(), 50.0);
        let answer = Answer { speculation: Some(Drafted { proposed: 9, accepted: 7 }), ..answer };
        assert!(answer.summary().contains("7 of 9 drafts right"));
        assert!(serde_json::to_string(&answer).unwrap().ends_with(r#""speculation":{"proposed":9,"accepted":7}}"#));
    }
}
