//! The tasks of the layer: work that goes on when its request has ended.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Starts tasks, and waits for all of them.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    /// In place of the runtime of the request.
    runtime: Option<Handle>,
}

impl Tasks {
    pub(super) fn new(runtime: Option<Handle>) -> Self {
        Self { tracker: TaskTracker::new(), runtime }
    }

    /// Starts a task in the span of the request that wants it.
    pub(crate) fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let task = task.in_current_span();
        match &self.runtime {
            Some(runtime) => self.tracker.spawn_on(task, runtime),
            None => self.tracker.spawn(task),
        }
    }
}
