"""Reads and writes the files of a home, which is HERMES_HOME, with the original's own functions.

Reads one order per line from standard input and prints one JSON object for each. Ends with its input.
"""

import importlib.metadata
import json
import os
import sys
from datetime import datetime

from gateway import drain_control, status


def state_of_home():
    """The state of the home as the original's tools read it."""
    record = status.read_runtime_status()
    state = record or {}
    pid = status.get_running_pid()
    facts = {"gateway_running": pid is not None, "gateway_state": state.get("gateway_state")}
    stamp = state.get("updated_at")
    return {
        "pid": pid,
        "running": status.is_gateway_running(),
        "pid_by_record": status.get_runtime_status_running_pid(),
        "lock_active": status.is_gateway_runtime_lock_active(),
        "record": record,
        "stamp_is_aware": stamp is not None and datetime.fromisoformat(stamp).tzinfo is not None,
        "busy": status.derive_gateway_busy(active_agents=state.get("active_agents"), **facts),
        "drainable": status.derive_gateway_drainable(**facts),
        "draining": drain_control.drain_requested(),
        "suppressed": drain_control.drain_notification_suppressed(),
        "marker": drain_control.read_drain_request(),
        "epoch": drain_control.current_instantiation_epoch(),
    }


def hold():
    """Takes the home as the original's gateway does at its start."""
    status.get_running_pid()
    if not status.acquire_gateway_runtime_lock():
        return {"held": False}
    status.write_pid_file()
    status.write_runtime_status(gateway_state="running", active_agents=2)
    return {"held": True, "pid": os.getpid()}


def release():
    """Releases the lock of the home and leaves its files, as a crash does."""
    status.release_gateway_runtime_lock()
    return {}


ORDERS = {
    "version": lambda: {"version": importlib.metadata.version("hermes-agent")},
    "state": state_of_home,
    "hold": hold,
    "release": release,
    "drain": lambda: drain_control.write_drain_request(principal="the-original", suppress_notification=True),
    "cancel": lambda: {"was_draining": drain_control.clear_drain_request()},
}

for line in sys.stdin:
    print(json.dumps(ORDERS[line.strip()]()), flush=True)
