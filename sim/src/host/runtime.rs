//! The clocks of members and lessees as runtimes.

use std::future::Future;

use lessor::driver::Runtime;
use lessor::{Instant, MemberId};

use super::{GLANCE, Shared};

/// Time and threads of a member: virtual, with a clock of its own, and one thread.
#[derive(Clone)]
pub struct SimRuntime {
    pub(super) shared: Shared,
    pub(super) member: MemberId,
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.shared.world().clock(self.member).read(self.shared.now())
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let member = self.member;
        self.shared.clone().sleep_until(deadline, move |world| world.clock(member))
    }

    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (shared, member) = (self.shared.clone(), self.member);
        // A task of its own: a thread that works goes on when nobody waits for it any more.
        let task = madsim::task::spawn(async move {
            shared.world().blocked(member, true);
            while shared.world().store_is_held(member) {
                shared.time.sleep(GLANCE).await;
            }
            let result = work();
            if shared.world().power_is_off(member) {
                // A machine without power does not come to know of it.
                shared.tell(|world| world.power_lost(member));
                std::future::pending::<()>().await;
            }
            let latency = shared.world().disk_latency(member);
            shared.time.sleep(latency).await;
            shared.world().blocked(member, false);
            result
        });
        async move {
            match task.await {
                Ok(result) => result,
                // Its machine has lost its power, or its process was killed.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

/// Time as a lessee has it, on a clock of its own.
pub(super) struct LesseeClock {
    pub(super) shared: Shared,
    pub(super) lessee: usize,
}

impl Runtime for LesseeClock {
    fn now(&self) -> Instant {
        self.shared.world().guard_looks(self.lessee)
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        let lessee = self.lessee;
        self.shared.clone().sleep_until(deadline, move |world| world.lessee_clock(lessee))
    }

    fn run_blocking<T, F>(&self, work: F) -> impl Future<Output = T> + Send + 'static
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        std::future::ready(work())
    }
}
