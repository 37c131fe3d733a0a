//! The handlers of commands from operators and other actors.

use std::time::Duration;

use actix::{Context, Handler, Message, MessageResult};

use super::Supervisor;
#[cfg(feature = "fault-injection")]
use crate::fault::Fault;
use crate::incarnation_future::ResponseFuture;
#[cfg(feature = "fault-injection")]
use crate::messages::InjectFault;
use crate::messages::{Operate, OperateError, OperatorCommand, StopChild};
use crate::plan::{ChildKey, SupervisorEvent};
use crate::port::Port;
use crate::spec::{ChildSpec, NestedSupervisor, SpecError};
use crate::start_child::{StartChild, StartChildError, StartChildren};

/// Timeout of a nested supervisor, which only records the command.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(2);

impl Handler<StartChild> for Supervisor {
    type Result = Result<(), StartChildError>;

    fn handle(&mut self, StartChild(spec): StartChild, ctx: &mut Self::Context) -> Self::Result {
        self.accept(spec)?;
        self.on(SupervisorEvent::Added, ctx);
        Ok(())
    }
}

impl Handler<StartChildren> for Supervisor {
    type Result = MessageResult<StartChildren>;

    fn handle(&mut self, StartChildren(specs): StartChildren, ctx: &mut Self::Context) -> Self::Result {
        let answers = specs.into_iter().map(|spec| self.accept(spec)).collect();
        self.on(SupervisorEvent::Added, ctx);
        MessageResult(answers)
    }
}

impl Handler<StopChild> for Supervisor {
    type Result = Result<(), OperateError>;

    fn handle(&mut self, StopChild { id }: StopChild, ctx: &mut Self::Context) -> Self::Result {
        if self.plan.is_closing() {
            return Err(OperateError::Closing);
        }
        let key = self.find(&id)?;
        self.children.remove(&id);
        self.on(SupervisorEvent::Remove { key }, ctx);
        Ok(())
    }
}

impl Handler<Operate> for Supervisor {
    type Result = ResponseFuture<Result<(), OperateError>>;

    fn handle(&mut self, Operate { path, command }: Operate, ctx: &mut Self::Context) -> Self::Result {
        let answer = match self.below(&path) {
            Ok(Some((id, nested, rest))) => {
                return forward(id, &nested.operate, Operate { path: rest.to_owned(), command });
            }
            Ok(None) => self.operate(&path, command, ctx),
            Err(error) => Err(error),
        };
        ResponseFuture::ready(answer)
    }
}

#[cfg(feature = "fault-injection")]
impl Handler<InjectFault> for Supervisor {
    type Result = ResponseFuture<Result<(), OperateError>>;

    fn handle(&mut self, InjectFault { path, fault }: InjectFault, ctx: &mut Self::Context) -> Self::Result {
        let answer = match self.below(&path) {
            _ if !self.system.options().faults_allowed => Err(OperateError::FaultsRefused),
            Ok(Some((id, nested, rest))) => {
                return forward(id, &nested.inject_fault, InjectFault { path: rest.to_owned(), fault });
            }
            Ok(None) => self.inject(&path, fault, ctx),
            Err(error) => Err(error),
        };
        ResponseFuture::ready(answer)
    }
}

impl Supervisor {
    /// Adds a child that was requested; [`SupervisorEvent::Added`] starts it.
    fn accept(&mut self, spec: ChildSpec) -> Result<(), StartChildError> {
        if self.plan.is_closing() {
            return Err(StartChildError::Closing);
        }
        spec.check()?;
        if self.by_id.contains_key(&spec.id) {
            return Err(SpecError::DuplicateId(spec.id.to_string()).into());
        }
        self.children.add(&spec);
        self.add(spec, None);
        Ok(())
    }

    fn find(&self, id: &str) -> Result<ChildKey, OperateError> {
        self.by_id.get(id).copied().ok_or_else(|| OperateError::NoSuchChild(id.to_owned()))
    }

    /// The nested supervisor that `path` leads through, its id, and the path from there; `None` if the path ends here.
    fn below<'p>(&self, path: &'p str) -> Result<Option<(&'p str, &NestedSupervisor, &'p str)>, OperateError> {
        let Some((head, rest)) = path.split_once('/') else { return Ok(None) };
        match self.running.get(self.find(head)?).and_then(|child| child.spec.nested.as_deref()) {
            Some(nested) => Ok(Some((head, nested, rest))),
            None => Err(OperateError::NoSuchChild(path.to_owned())),
        }
    }

    fn operate(&mut self, id: &str, command: OperatorCommand, ctx: &mut Context<Self>) -> Result<(), OperateError> {
        if self.plan.is_closing() {
            return Err(OperateError::Closing);
        }
        let key = self.find(id)?;
        if let Some(child) = self.running.get(key) {
            tracing::info!(child = child.cell.path(), ?command, "operator command accepted");
        }
        self.on(SupervisorEvent::Operate { key, command }, ctx);
        Ok(())
    }

    #[cfg(feature = "fault-injection")]
    fn inject(&mut self, id: &str, fault: Fault, ctx: &mut Context<Self>) -> Result<(), OperateError> {
        let key = self.find(id)?;
        let Some(child) = self.running.get_mut(key) else { return Err(OperateError::NoSuchChild(id.to_owned())) };
        tracing::warn!(child = child.cell.path(), ?fault, "fault injected");
        if fault.at_start() {
            child.fault = Some(fault);
            return self.operate(id, OperatorCommand::Restart, ctx);
        }
        let current = child.current.as_ref().ok_or_else(|| OperateError::NotRunning(id.to_owned()))?;
        current.control().inject(fault);
        Ok(())
    }
}

/// Forwards a command to the supervisor `id` below.
fn forward<M>(id: &str, port: &Port<M>, message: M) -> ResponseFuture<Result<(), OperateError>>
where
    M: Message<Result = Result<(), OperateError>> + Send + 'static,
{
    let (id, answer) = (id.to_owned(), port.ask(message, ROUTE_TIMEOUT));
    ResponseFuture::new(
        async move { answer.await.unwrap_or_else(|source| Err(OperateError::Unreachable { id, source })) },
    )
}
