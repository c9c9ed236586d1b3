//! How often the cluster may be asked.
//!
//! Requests go one after another at the rate, and those that were not made in time may be made at
//! once, up to the burst: a bucket of tokens, as the field's own clients have it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

/// Between two requests at the most, however low the rate.
const LONGEST: Duration = Duration::from_secs(3600);

/// How many requests a cluster gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In a second, in the long run. Above 0.
    pub qps: f64,
    /// At once, after a while without. At least 1.
    pub burst: u32,
}

impl Rate {
    /// Between two requests, in the long run.
    fn gap(self) -> Duration {
        Duration::try_from_secs_f64(self.qps.recip()).map_or(LONGEST, |gap| gap.min(LONGEST))
    }

    /// When the next request may be made, after one that was due at `last`.
    fn due(self, last: Option<Instant>, now: Instant) -> Instant {
        let saved = self.gap().saturating_mul(self.burst.saturating_sub(1));
        let earliest = now.checked_sub(saved).unwrap_or(now);
        last.map_or(earliest, |last| earliest.max(last + self.gap()))
    }
}

/// Holds requests back until they are due, by the rate at that time.
#[derive(Clone, Debug)]
pub(super) struct Pace(pub(super) watch::Receiver<Rate>);

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { inner, rate: self.0.clone(), last: None, turn: Turn::None }
    }
}

/// What is held back.
pub(super) struct Paced<S> {
    inner: S,
    rate: watch::Receiver<Rate>,
    /// When the last request was due.
    last: Option<Instant>,
    turn: Turn,
}

/// That of the next request.
enum Turn {
    None,
    Awaited(Pin<Box<dyn Future<Output = Instant> + Send>>),
    Come,
}

impl<S, B> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Turn::None = self.turn {
            self.turn = Turn::Awaited(Box::pin(come(self.rate.clone(), self.last)));
        }
        if let Turn::Awaited(turn) = &mut self.turn {
            self.last = Some(ready!(turn.as_mut().poll(context)));
            self.turn = Turn::Come;
        }
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        self.turn = Turn::None;
        self.inner.call(request)
    }
}

/// Returns when the next request is due, which is when it was.
async fn come(mut rate: watch::Receiver<Rate>, last: Option<Instant>) -> Instant {
    loop {
        let now = Instant::now();
        let due = rate.borrow_and_update().due(last, now);
        if due <= now {
            return due;
        }
        tokio::select! {
            () = sleep_until(due) => {}
            Ok(()) = rate.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};

    use tower::{ServiceExt, service_fn};

    use super::*;

    fn layered(
        rate: &watch::Sender<Rate>,
    ) -> Paced<
        impl Service<Request<()>, Response = Instant, Error = Infallible, Future: Send> + use<>,
    > {
        let made =
            |_: Request<()>| -> Ready<Result<Instant, Infallible>> { ready(Ok(Instant::now())) };
        Pace(rate.subscribe()).layer(service_fn(made))
    }

    /// How many requests are made within so many milliseconds, one after another.
    async fn made(
        paced: &mut Paced<impl Service<Request<()>, Response = Instant, Error = Infallible>>,
        within_ms: u64,
    ) -> u32 {
        let end = Instant::now() + Duration::from_millis(within_ms);
        let mut made = 0;
        while let Ok(service) = tokio::time::timeout_at(end, paced.ready()).await {
            service.unwrap().call(Request::new(())).await.unwrap();
            made += 1;
        }
        made
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_at_once_and_then_the_rate() {
        let rate = watch::Sender::new(Rate { qps: 10.0, burst: 5 });
        let mut paced = layered(&rate);
        assert_eq!(made(&mut paced, 1).await, 5);
        assert_eq!(made(&mut paced, 950).await, 9);
        assert_eq!(made(&mut paced, 10_000).await, 100);
        // What was not asked for a while is saved up, and no more than a burst of it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(made(&mut paced, 1).await, 3);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(made(&mut paced, 1).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_counts_from_now_on_also_for_who_waits() {
        let rate = watch::Sender::new(Rate { qps: 0.001, burst: 1 });
        let mut paced = layered(&rate);
        assert_eq!(made(&mut paced, 60_000).await, 1);
        let waiting = tokio::spawn(async move { made(&mut paced, 1000).await });
        tokio::task::yield_now().await;
        rate.send_replace(Rate { qps: 1000.0, burst: 1 });
        assert!(waiting.await.unwrap() > 900);
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_too_low_or_too_high() {
        for qps in [f64::MIN_POSITIVE, 1e-300, 1e300, f64::MAX] {
            for burst in [1, u32::MAX] {
                let rate = watch::Sender::new(Rate { qps, burst });
                let mut paced = layered(&rate);
                let first = tokio::time::timeout(Duration::ZERO, paced.ready());
                first.await.unwrap().unwrap().call(Request::new(())).await.unwrap();
                let second = tokio::time::timeout(LONGEST * 2, paced.ready());
                assert!(second.await.is_ok(), "{qps}");
            }
        }
    }
}
