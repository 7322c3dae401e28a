//! The machines of a run: a node of madsim for each member.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lessor::driver::{Handle, LogEvent};
use lessor::{LeaseId, MemberId};
use madsim::net::Endpoint;
use madsim::runtime::NodeHandle;
use madsim::task::JoinHandle;
use tokio::sync::{Notify, mpsc, oneshot};

use super::backend::SimBackend;
use super::runtime::LesseeClock;
use super::seat::{Seat, Service, Services};
use super::testbed::Parts;
use super::{GLANCE, Shared, TAG, address};
use crate::env::packet::Packet;
use crate::world::HostAction;

pub(super) struct Cluster {
    pub(super) shared: Shared,
    /// What the scenario names.
    pub(super) parts: Parts,
    pub(super) nodes: BTreeMap<MemberId, NodeHandle>,
    /// How each running member's log is told events, and messages of others if it is somebody else's.
    pub(super) logs: BTreeMap<MemberId, (EventSender, MessageSender)>,
    /// Filled when a member has opened.
    pub(super) services: Services,
    /// What gives up each call that is on its way, when it is dropped.
    pub(super) calls: Arc<Mutex<BTreeMap<u64, oneshot::Sender<()>>>>,
    /// Where each running member hears the others.
    pub(super) sockets: Arc<Mutex<BTreeMap<MemberId, Arc<Endpoint>>>>,
    /// And on which port: each process has one of its own, so that it does not hear what was meant
    /// for the one before.
    pub(super) ports: BTreeMap<MemberId, u16>,
    /// The tasks of each running member: its ears and its driver.
    pub(super) tasks: BTreeMap<MemberId, [JoinHandle<()>; 2]>,
    /// The members whose engine was aborted, so that their process runs on without one.
    pub(super) aborted: BTreeSet<MemberId>,
}

type EventSender = mpsc::UnboundedSender<LogEvent>;
type MessageSender = mpsc::UnboundedSender<(MemberId, Vec<u8>)>;

impl Cluster {
    pub(super) fn new(shared: Shared, parts: Parts) -> Self {
        Self {
            shared,
            parts,
            nodes: BTreeMap::new(),
            logs: BTreeMap::new(),
            services: Arc::default(),
            calls: Arc::default(),
            sockets: Arc::default(),
            ports: BTreeMap::new(),
            tasks: BTreeMap::new(),
            aborted: BTreeSet::new(),
        }
    }

    pub(super) async fn run(mut self, give_up: &AtomicBool) {
        let changed = self.shared.changed.clone();
        self.shared.world().advance();
        while !self.shared.world().has_ended() && !give_up.load(Ordering::Relaxed) {
            loop {
                let action = self.shared.world().poll_action();
                let Some(action) = action else { break };
                self.act(action);
            }
            let deadline = self.shared.world().poll_timeout();
            let pause = deadline.saturating_sub(self.shared.now());
            tokio::select! {
                biased;
                () = changed.notified() => {}
                () = self.shared.time.sleep(pause) => {}
            }
            let drawn = self.shared.world().poll_fork();
            for _ in 0..drawn.unwrap_or(0) {
                madsim::rand::random::<u64>();
            }
            self.shared.world().advance();
        }
    }

    pub(super) fn act(&mut self, action: HostAction) {
        let supervisor = madsim::runtime::Handle::current();
        match action {
            HostAction::Boot(member) => self.boot(member),
            HostAction::Kill(member) => {
                self.serves_no_more(member);
                self.logs.remove(&member);
                self.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
                self.aborted.remove(&member);
                if let Some(node) = self.nodes.get(&member) {
                    supervisor.kill(node.id());
                }
            }
            HostAction::Abort(member) => {
                self.serves_no_more(member);
                self.sockets.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
                for task in self.tasks.remove(&member).into_iter().flatten() {
                    task.abort();
                }
                self.logs.remove(&member);
                self.aborted.insert(member);
            }
            HostAction::OpenAgain(member) => {
                let outcome = SimBackend::mount(self.shared.clone(), member, &*self.parts.open);
                let refusal = outcome.err().map(|error| error.to_string());
                self.shared.tell(|world| world.opened_again(member, refusal.as_deref()));
            }
            HostAction::Observe { member, step, leaves } => self.observe(member, step, leaves),
            HostAction::Pause(member) => {
                if let Some(node) = self.nodes.get(&member) {
                    supervisor.pause(node.id());
                }
            }
            HostAction::Resume(member) => {
                if let Some(node) = self.nodes.get(&member) {
                    supervisor.resume(node.id());
                }
            }
            HostAction::Deliver(member, event) => {
                if let Some((events, _)) = self.logs.get(&member) {
                    // The member may have just ended.
                    let _ = events.send(event);
                }
            }
            HostAction::Send(packet) => self.send(packet),
            HostAction::Receive(from, to, bytes) => {
                if let Some((_, inbox)) = self.logs.get(&to) {
                    // Its log may not listen.
                    let _ = inbox.send((from, bytes));
                }
            }
            HostAction::Call { call, member, request } => {
                let service = self.service(member);
                let (shared, calls) = (self.shared.clone(), self.calls.clone());
                let (waiting, given_up) = oneshot::channel::<()>();
                self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call, waiting);
                madsim::task::spawn(async move {
                    let answer = match service {
                        Some(service) => tokio::select! {
                            biased;
                            answer = service.request(request) => Some(answer),
                            _ = given_up => return,
                        },
                        None => None,
                    };
                    calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
                    shared.tell(|world| world.answered(call, answer));
                });
            }
            HostAction::KeepAlive { call, member, lease, lessee } => {
                self.keep_alive(call, member, lease, lessee);
            }
            HostAction::GiveUp(call) => {
                self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
            }
            HostAction::Stop(member) => {
                if let Some(service) = self.service(member) {
                    madsim::task::spawn(async move { service.stop().await });
                }
            }
        }
    }

    /// Who answers for a member, if it runs.
    fn service(&self, member: MemberId) -> Option<Service> {
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(&member).cloned()
    }

    /// The product's handle of a member, if it runs and has one.
    fn handle(&self, member: MemberId) -> Option<Handle> {
        match self.service(member)? {
            Service::Handle(handle) => Some(handle),
            Service::Own { .. } => {
                self.shared.world().has_no_handle();
                None
            }
        }
    }

    fn serves_no_more(&self, member: MemberId) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
    }

    /// Keeps a lease alive until its guard has lost it or is dropped; the guard goes by the clock of a lessee.
    pub(super) fn keep_alive(&self, call: u64, member: MemberId, lease: LeaseId, lessee: usize) {
        let handle = self.handle(member);
        let (shared, calls) = (self.shared.clone(), self.calls.clone());
        let (waiting, mut given_up) = oneshot::channel::<()>();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).insert(call, waiting);
        madsim::task::spawn(async move {
            let clock = LesseeClock { shared: shared.clone(), lessee };
            let kept = match handle {
                Some(handle) => tokio::select! {
                    biased;
                    kept = handle.keep_alive_on(clock, lease) => Some(kept),
                    _ = &mut given_up => return,
                },
                None => None,
            };
            match kept {
                Some(Ok((mut guard, renewing))) => {
                    madsim::task::spawn(renewing);
                    shared.tell(|world| world.kept(call));
                    let why = tokio::select! {
                        biased;
                        why = guard.lost() => why,
                        _ = given_up => return,
                    };
                    shared.tell(|world| world.lost(lessee, call, &why));
                }
                Some(Err(error)) => {
                    shared.tell(|world| world.answered(call, Some(Err(error))));
                }
                None => shared.tell(|world| world.answered(call, None)),
            }
            calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&call);
        });
    }

    /// Watches a member's expired batches, and reads none while the fault of a step lasts.
    pub(super) fn observe(&self, member: MemberId, step: usize, leaves: bool) {
        let Some(handle) = self.handle(member) else { return };
        let shared = self.shared.clone();
        madsim::task::spawn(async move {
            let Ok(mut expired) = handle.expired().await else { return };
            drop(handle);
            while shared.world().observer_sleeps(step) {
                shared.time.sleep(GLANCE).await;
            }
            while !leaves && let Some(batch) = expired.recv().await {
                let missed = batch.err();
                shared.tell(|world| world.observed(member, missed.is_some()));
            }
        });
    }

    /// Sends a message from the node of one member to that of another.
    pub(super) fn send(&self, packet: Packet) {
        let socket = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, to) = (packet.from(), packet.to());
        let socket = socket.get(&from).cloned();
        let to = self.ports.get(&to).map(|port| address(to, *port));
        if let (Some(node), Some(socket), Some(to)) = (self.nodes.get(&from), socket, to) {
            let _sending = node.spawn(async move {
                // Nobody may be there.
                let _ = socket.send_to_raw(to, TAG, Box::new(packet)).await;
            });
        }
    }

    /// Starts a member's process: it opens its store, and runs the driver until it ends.
    pub(super) fn boot(&mut self, member: MemberId) {
        let supervisor = madsim::runtime::Handle::current();
        let node = self.nodes.entry(member).or_insert_with(|| {
            let name = format!("member {member}");
            supervisor.create_node().name(name).ip(address(member, 1).ip()).build()
        });
        // An engine that was aborted leaves its process behind, and the commit that is on its way there.
        if !self.aborted.remove(&member) {
            supervisor.restart(node.id());
        }
        let node = supervisor.get_node(node.id()).expect("the node was created");
        let (to_events, events) = mpsc::unbounded_channel();
        let (to_inbox, inbox) = mpsc::unbounded_channel();
        self.logs.insert(member, (to_events, to_inbox));
        let (shared, services) = (self.shared.clone(), self.services.clone());
        let (ears, sockets) = (self.shared.clone(), self.sockets.clone());
        let port = self.ports.entry(member).or_default();
        *port += 1;
        let port = *port;
        let hearing = node.spawn(async move {
            let socket = Endpoint::bind(address(member, port)).await;
            let socket = Arc::new(socket.expect("each process binds a port of its own"));
            sockets.lock().unwrap_or_else(PoisonError::into_inner).insert(member, socket.clone());
            while let Ok((payload, _)) = socket.recv_from_raw(TAG).await {
                let packet = payload.downcast::<Packet>().expect("nothing else is sent");
                ears.tell(|world| world.received(*packet));
            }
        });
        let (ends, stop) = (Some((events, inbox)), Arc::new(Notify::new()));
        let (parts, host) = (self.parts.clone(), self.parts.host.clone());
        let seat = Seat { shared: shared.clone(), member, parts, ends, services, stop };
        let running = node.spawn(async move {
            let outcome = host.run(seat).await.map_err(|error| error.to_string());
            shared.tell(|world| world.process_ended(member, outcome));
        });
        self.tasks.insert(member, [hearing, running]);
        self.nodes.insert(member, node);
    }
}
