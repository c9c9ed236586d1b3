//! One life of the agent on the wire: connect, lease, and one intent a tick.

use std::error::Error;
use std::io::Write;
use std::pin::{Pin, pin};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::AgentOptions;
use super::choose::{choose, place};
use super::journal::Journal;
use crate::proto::action_service_client::ActionServiceClient;
use crate::proto::lease_service_client::LeaseServiceClient;
use crate::proto::observation_service_client::ObservationServiceClient;
use crate::proto::{
    AcquireLeaseRequest, Intent, LeaseResponse, Observation, ReleaseLeaseRequest,
    RenewLeaseRequest, StreamObservationsRequest, SubmitIntentRequest, SubmitIntentResponse,
};

/// How long the world has to take a connection, and to answer a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an agent that stops waits for the world to take its lease back.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why the session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("stopped")]
    Stopped,
    #[error("cannot reach the world at {server}: {cause}")]
    Unreachable { server: String, cause: String },
    #[error("no lease: {reason}")]
    NoLease { reason: String },
    #[error("the observations ended: {reason}")]
    StreamEnded { reason: String },
}

/// Forages until something ends it; on `stop`, gives the lease back first.
pub(super) async fn forage<W: Write>(
    options: &AgentOptions,
    journal: &Journal<W>,
    stop: impl Future<Output = ()>,
) -> End {
    let mut stop = pin!(stop);
    let connected = tokio::select! {
        biased;
        () = &mut stop => return End::Stopped,
        connected = connect(&options.server) => connected,
    };
    let session = match connected {
        Ok(channel) => Session { entity: options.entity.clone(), channel },
        Err(end) => return end,
    };
    let lease = match session.acquire_unless(stop.as_mut(), &options.server).await {
        Ok(lease) => lease,
        Err(end) => return end,
    };
    journal.line(format_args!("leased {}", session.entity));
    let end = tokio::select! {
        biased;
        () = stop => End::Stopped,
        end = session.act(&lease, journal) => end,
    };
    if matches!(end, End::Stopped) {
        session.release(lease).await;
    }
    end
}

async fn connect(server: &str) -> Result<Channel, End> {
    let unreachable =
        |error: &dyn Error| End::Unreachable { server: server.to_owned(), cause: causes(error) };
    let endpoint =
        Endpoint::from_shared(format!("http://{server}")).map_err(|error| unreachable(&error))?;
    let endpoint = endpoint.connect_timeout(PATIENCE).tcp_nodelay(true);
    endpoint.connect().await.map_err(|error| unreachable(&error))
}

struct Session {
    entity: String,
    channel: Channel,
}

impl Session {
    /// Gets the lease. If the stop comes meanwhile, a lease that is given all the same is given
    /// back: nobody else would know of it until it expires.
    async fn acquire_unless(
        &self,
        stop: Pin<&mut impl Future<Output = ()>>,
        server: &str,
    ) -> Result<String, End> {
        let mut acquiring = pin!(self.acquire(server));
        tokio::select! {
            biased;
            () = stop => {
                if let Ok(Ok(lease)) = tokio::time::timeout(FAREWELL, acquiring).await {
                    self.release(lease).await;
                }
                Err(End::Stopped)
            }
            acquired = &mut acquiring => acquired,
        }
    }

    /// The controller id is the same in every life of this agent, so that the lease of one that
    /// was killed goes to the next one at once.
    async fn acquire(&self, server: &str) -> Result<String, End> {
        let request = AcquireLeaseRequest {
            entity_id: self.entity.clone(),
            controller_id: format!("forager-{}", self.entity),
        };
        match LeaseServiceClient::new(self.channel.clone()).acquire_lease(timely(request)).await {
            Ok(answer) => granted(answer.into_inner()),
            Err(status) if status.code() == Code::Unavailable => Err(End::Unreachable {
                server: server.to_owned(),
                cause: status.message().to_owned(),
            }),
            Err(status) => Err(End::NoLease { reason: told(&status) }),
        }
    }

    async fn release(&self, lease_id: String) {
        let mut client = LeaseServiceClient::new(self.channel.clone());
        let released = client.release_lease(ReleaseLeaseRequest { lease_id });
        // Without an answer the lease expires by itself.
        let _outcome = tokio::time::timeout(FAREWELL, released).await;
    }

    /// Acts in every tick, for as long as the observations come.
    async fn act<W: Write>(&self, lease: &str, journal: &Journal<W>) -> End {
        let mut observations = match self.observe(lease).await {
            Ok(observations) => observations,
            Err(status) => return End::StreamEnded { reason: told(&status) },
        };
        loop {
            let outcome = match observations.message().await {
                Ok(Some(observation)) => self.act_once(lease, &observation).await,
                Ok(None) => return End::StreamEnded { reason: "by the world".to_owned() },
                Err(status) => return End::StreamEnded { reason: told(&status) },
            };
            match outcome {
                Ok(line) => journal.line(format_args!("{line}")),
                Err(end) => return end,
            }
        }
    }

    async fn observe(&self, lease: &str) -> Result<Streaming<Observation>, Status> {
        let request = StreamObservationsRequest {
            lease_id: lease.to_owned(),
            entity_id: self.entity.clone(),
        };
        let mut client = ObservationServiceClient::new(self.channel.clone());
        Ok(client.stream_observations(request).await?.into_inner())
    }

    /// Renews the lease and submits one intent; returns the line to say about it.
    async fn act_once(&self, lease: &str, observation: &Observation) -> Result<String, End> {
        let choice = choose(observation, &self.entity);
        let lost = |status: Status| End::StreamEnded { reason: told(&status) };
        let renewal = timely(RenewLeaseRequest { lease_id: lease.to_owned() });
        let renewed = LeaseServiceClient::new(self.channel.clone()).renew_lease(renewal).await;
        granted(renewed.map_err(lost)?.into_inner())?;
        let request = timely(SubmitIntentRequest {
            lease_id: lease.to_owned(),
            entity_id: self.entity.clone(),
            tick_id: observation.tick_id,
            intent: Some(Intent { action: Some(choice.action) }),
        });
        let answer = ActionServiceClient::new(self.channel.clone()).submit_intent(request).await;
        let SubmitIntentResponse { accepted, reason } = answer.map_err(lost)?.into_inner();
        let story = if accepted { choice.story } else { format!("refused: {reason}") };
        let tick = observation.tick_id;
        Ok(match observation.self_.as_ref().and_then(|me| place(me.position)) {
            Some((x, y)) => format!("tick {tick} at ({x},{y}): {story}"),
            None => format!("tick {tick}: {story}"),
        })
    }
}

fn granted(answer: LeaseResponse) -> Result<String, End> {
    if answer.success { Ok(answer.lease_id) } else { Err(End::NoLease { reason: answer.reason }) }
}

fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

fn told(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// An error with all that is behind it: on its own, tonic's says only "transport error".
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
