//! What operators and other actors may ask of a supervisor.

use std::time::Duration;

use actix::{Context, Handler};

use super::Supervisor;
use crate::supervision::carried::ResponseFuture;
use crate::supervision::fault::Fault;
use crate::supervision::messages::{InjectFault, Operate, OperateError, Order, StartChild, StartChildError, StopChild};
use crate::supervision::plan::{Event, Key};
use crate::supervision::spec::ChildSpec;

/// How long a supervisor below may take to accept an order. It only notes it down, so this is generous.
const ROUTE_PATIENCE: Duration = Duration::from_secs(2);

impl Handler<StartChild> for Supervisor {
    type Result = Result<(), StartChildError>;

    fn handle(&mut self, StartChild(spec): StartChild, ctx: &mut Self::Context) -> Self::Result {
        if self.plan.is_closing() {
            return Err(StartChildError::Closing);
        }
        if self.find(&spec.id).is_ok() {
            return Err(StartChildError::Taken(spec.id));
        }
        self.roll.add(&spec);
        self.adopt(spec);
        self.on(Event::Added, ctx);
        Ok(())
    }
}

impl Handler<StopChild> for Supervisor {
    type Result = Result<(), OperateError>;

    fn handle(&mut self, StopChild { id }: StopChild, ctx: &mut Self::Context) -> Self::Result {
        if self.plan.is_closing() {
            return Err(OperateError::Closing);
        }
        let key = self.find(&id)?;
        self.roll.remove(&id);
        self.on(Event::Remove { key }, ctx);
        Ok(())
    }
}

impl Handler<Operate> for Supervisor {
    type Result = ResponseFuture<Result<(), OperateError>>;

    fn handle(&mut self, Operate { path, order }: Operate, ctx: &mut Self::Context) -> Self::Result {
        let answer = match self.below(&path) {
            Ok(Some((spec, rest))) => return forward(spec, Operate { path: rest.to_owned(), order }),
            Ok(None) => self.operate(&path, order, ctx),
            Err(error) => Err(error),
        };
        ResponseFuture::ready(answer)
    }
}

impl Handler<InjectFault> for Supervisor {
    type Result = ResponseFuture<Result<(), OperateError>>;

    fn handle(&mut self, InjectFault { path, fault }: InjectFault, ctx: &mut Self::Context) -> Self::Result {
        let answer = match self.below(&path) {
            _ if !self.realm.options().faults_allowed => Err(OperateError::FaultsRefused),
            Ok(Some((spec, rest))) => return forward(spec, InjectFault { path: rest.to_owned(), fault }),
            Ok(None) => self.inject(&path, fault, ctx),
            Err(error) => Err(error),
        };
        ResponseFuture::ready(answer)
    }
}

impl Supervisor {
    fn find(&self, id: &str) -> Result<Key, OperateError> {
        let found = self.children.iter().find(|(_, child)| child.spec.id == id);
        found.map(|(key, _)| *key).ok_or_else(|| OperateError::NoSuchChild(id.to_owned()))
    }

    /// The supervisor below that a path leads through, and the path from there; `None` if it ends here.
    fn below<'p>(&self, path: &'p str) -> Result<Option<(&ChildSpec, &'p str)>, OperateError> {
        let Some((head, rest)) = path.split_once('/') else { return Ok(None) };
        let spec = &self.children[&self.find(head)?].spec;
        if spec.branch.is_some() { Ok(Some((spec, rest))) } else { Err(OperateError::NoSuchChild(path.to_owned())) }
    }

    fn operate(&mut self, id: &str, order: Order, ctx: &mut Context<Self>) -> Result<(), OperateError> {
        if self.plan.is_closing() {
            return Err(OperateError::Closing);
        }
        let key = self.find(id)?;
        tracing::info!(child = self.children[&key].cell.path(), ?order, "operator's order");
        self.on(Event::Order { key, order }, ctx);
        Ok(())
    }

    fn inject(&mut self, id: &str, fault: Fault, ctx: &mut Context<Self>) -> Result<(), OperateError> {
        let key = self.find(id)?;
        let Some(child) = self.children.get_mut(&key) else { return Err(OperateError::NoSuchChild(id.to_owned())) };
        tracing::warn!(child = child.cell.path(), ?fault, "fault injected");
        if fault.at_birth() {
            child.fault = Some(fault);
            return self.operate(id, Order::Restart, ctx);
        }
        let present = child.present.as_ref().ok_or_else(|| OperateError::NotRunning(id.to_owned()))?;
        present.leash.inject(fault);
        Ok(())
    }
}

/// Passes a question on to the supervisor that is its next station.
fn forward<M>(spec: &ChildSpec, message: M) -> ResponseFuture<Result<(), OperateError>>
where
    Supervisor: Handler<M>,
    M: actix::Message<Result = Result<(), OperateError>> + Send + 'static,
{
    let Some(branch) = &spec.branch else {
        return ResponseFuture::ready(Err(OperateError::NoSuchChild(spec.id.clone())));
    };
    let (id, answer) = (spec.id.clone(), branch.port::<M>().ask(message, ROUTE_PATIENCE));
    ResponseFuture::new(
        async move { answer.await.unwrap_or_else(|source| Err(OperateError::Unreachable { id, source })) },
    )
}
