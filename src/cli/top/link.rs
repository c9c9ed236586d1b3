//! What the instance tells, as messages: watches, and what is measured while somebody looks.
//!
//! Only what the screen wants is asked for. When the instance is gone, it is looked for until it is
//! back.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::{Code, Status};

use super::state::{Command, MOST_EVENTS, Message};
use super::wants::{Measured, Wants, until};
use crate::cli::describe;
use crate::control::client::Client;
use crate::proto::control as pb;

/// Between two measurements: what CPU is said to be is a mean over this time.
const MEASURED_EVERY: Duration = Duration::from_secs(2);

/// Between two attempts to find an instance that is away.
const RETRY: Duration = Duration::from_millis(500);

/// Who has not answered for so long does not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many of the last events and log lines a description has.
const LAST: u32 = 20;

/// Nobody wants to know any more, or something that is not to end has ended.
type End = Result<Infallible, Status>;

/// The way to the instance and from it.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    /// Which agents are of interest.
    pub(super) selector: pb::Selector,
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) wants: watch::Receiver<Wants>,
}

impl Link {
    /// Tells what the instance tells, until nobody listens.
    pub(super) async fn run(self) {
        loop {
            let ended = tokio::select! {
                ended = self.clone().statuses() => ended,
                ended = self.clone().agents() => ended,
                ended = self.clone().events() => ended,
                ended = self.clone().measurements() => ended,
                () = self.messages.closed() => return,
            };
            let Err(status) = ended;
            let why = if status.code() == Code::DeadlineExceeded {
                "the runner does not answer; this is how it was"
            } else {
                "the runner is not there; this is how it was, until it is back"
            };
            if self.messages.send(Message::Away(why.to_owned())).await.is_err() {
                return;
            }
            sleep(RETRY).await;
        }
    }

    async fn statuses(mut self) -> End {
        let asked = self.client.watch_status(pb::GetStatusRequest {});
        let mut statuses = in_time(asked).await?.into_inner();
        loop {
            let status = statuses.message().await?.ok_or_else(ended)?;
            tell(&self.messages, Message::Status(Box::new(status))).await?;
        }
    }

    async fn agents(mut self) -> End {
        let asked = pb::ListAgentsRequest {
            selector: Some(self.selector.clone()),
            pending: true,
            ..pb::ListAgentsRequest::default()
        };
        let mut changes = self.client.watch_agents(asked).await?.into_inner();
        loop {
            let change = changes.message().await?.ok_or_else(ended)?;
            tell(&self.messages, Message::Agents(change)).await?;
        }
    }

    async fn events(mut self) -> End {
        loop {
            until(&mut self.wants, |wants| wants.events).await.ok_or_else(ended)?;
            let asked = pb::ListEventsRequest { limit: MOST_EVENTS, ..Default::default() };
            let mut events = self.client.watch_events(asked).await?.into_inner();
            loop {
                tokio::select! {
                    event = events.message() => {
                        let event = event?.ok_or_else(ended)?;
                        tell(&self.messages, Message::Happened(event)).await?;
                    }
                    hidden = until(&mut self.wants, |wants| !wants.events) => {
                        hidden.ok_or_else(ended)?;
                        break;
                    }
                }
            }
        }
    }

    async fn measurements(mut self) -> End {
        let begun = Instant::now();
        let mut due = interval(MEASURED_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let names = match self.wants.borrow().measured.clone() {
                Measured::All => self.selector.names.clone(),
                Measured::Of(names) if names.is_empty() => continue,
                Measured::Of(names) => names,
            };
            let selector = Some(pb::Selector { names, ..self.selector.clone() });
            let asked = pb::ListAgentsRequest { selector, usage: true, ..Default::default() };
            let measured = in_time(self.client.list_agents(asked)).await?.into_inner();
            tell(&self.messages, Message::Measured(begun.elapsed(), measured)).await?;
        }
    }

    /// Asks the instance for something, and tells what came of it.
    pub(super) async fn carry_out(mut self, command: Command) {
        let answer = in_time(self.ask(command.clone())).await;
        let answer = answer.map_err(|status| status.message().to_owned());
        // Who asked may have left.
        let _ = self.messages.send(Message::Answered(command, answer)).await;
    }

    async fn ask(&mut self, command: Command) -> Result<String, Status> {
        let client = &mut self.client;
        Ok(match command {
            Command::Describe(name) => {
                let asked = pb::DescribeAgentRequest { name, events: LAST };
                describe::text(&client.describe_agent(asked).await?.into_inner(), LAST)
            }
            Command::Explain(name) => {
                let steps = client.explain(pb::ExplainRequest { name }).await?.into_inner().steps;
                let lines: Vec<_> = steps.iter().map(describe::line_of_step).collect();
                lines.join("\n")
            }
            Command::Restart(name) => {
                done("restarting", &client.restart_agents(order(name)).await?.into_inner())
            }
            Command::Suspend(name) => {
                done("suspended", &client.suspend_entities(order(name)).await?.into_inner())
            }
            Command::Resume(name) => {
                done("resumed", &client.resume_entities(order(name)).await?.into_inner())
            }
        })
    }
}

async fn tell(messages: &mpsc::Sender<Message>, message: Message) -> Result<(), Status> {
    messages.send(message).await.map_err(|_| ended())
}

fn order(name: String) -> pb::OrderRequest {
    let selector = Some(pb::Selector { names: vec![name], ..pb::Selector::default() });
    pb::OrderRequest { selector }
}

fn done(what: &str, response: &pb::OrderResponse) -> String {
    format!("{} {what}", response.names.join(", "))
}

fn ended() -> Status {
    Status::unavailable("the runner has ended")
}

/// The answer, if it comes in time.
async fn in_time<T>(asked: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let late = |_| Err(Status::deadline_exceeded("the runner does not answer"));
    timeout(PATIENCE, asked).await.unwrap_or_else(late)
}
