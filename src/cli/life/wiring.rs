//! The ports of the tree, for HTTP, and the command of the guard.

use std::io;
use std::sync::Arc;

use caduceus_actors::gateway::{DeliveryPort, GatewayPorts, LinkPort};
use caduceus_actors::profile::GuardCommand;
use caduceus_supervision::{InjectFault, Operate, Port};

use crate::cli::restart::ShutdownController;
use crate::http;

pub(super) fn http_ports(
    ports: &GatewayPorts,
    operate: Port<Operate>,
    inject_fault: Port<InjectFault>,
    shutdown: &ShutdownController,
) -> http::HttpPorts {
    http::HttpPorts {
        snapshot: ports.snapshot.clone(),
        refresh: ports.refresh.clone(),
        changes: ports.changes.clone(),
        subscribe: ports.subscribe.clone(),
        drain: ports.drain.clone(),
        operate,
        inject_fault,
        stop_turn: ports.stop_turn.clone(),
        ledger: http::HttpLedgerPorts {
            control: ports.ledger.clone(),
            retry: ports.retry_row.clone(),
            drop: ports.drop_row.clone(),
        },
        restart: shutdown.port(),
        relay: relay_ports(ports),
    }
}

fn relay_ports(ports: &GatewayPorts) -> http::HttpRelayPorts {
    let link = |port: &LinkPort| http::LinkControls { id: port.link.clone(), dormancy: port.dormancy.clone() };
    let delivery = |DeliveryPort { owner, verify, deliver }| http::DeliveryRoute { owner, verify, deliver };
    let deliveries = ports.deliveries.clone();
    http::HttpRelayPorts {
        links: ports.links.iter().map(link).collect(),
        deliveries: http::Deliveries(Arc::new(move || deliveries.now().into_iter().map(delivery).collect())),
        stop_session: Some(ports.stop_session.clone()),
    }
}

/// The command of an agent's guard: this binary.
pub(super) fn guard_command() -> io::Result<GuardCommand> {
    // Through the kernel's own link, which still leads to this binary when an upgrade has replaced the file.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
    Ok(GuardCommand { program, arguments: vec!["guard".into()] })
}
