"""Runs the original's own relay client against a connector, and reports each step on standard output.

Usage: client.py URL GATEWAY_ID PLATFORM, with the secret in RELAY_TEST_SECRET. Each line printed is one JSON object with
a "step". The script ends by itself after one inbound event was answered, or when --until-closed was given and the
connection has ended.
"""

import asyncio
import importlib.metadata
import json
import os
import sys

from gateway.relay.ws_transport import WebSocketRelayTransport

CEILING_S = 30


def report(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


class Reporting(WebSocketRelayTransport):
    """The original's transport, which reports every frame."""

    async def _send(self, frame):
        report("frame", direction="to connector", frame=frame)
        await super()._send(frame)

    async def _handle_frame(self, line):
        report("frame", direction="to gateway", frame=json.loads(line))
        await super()._handle_frame(line)


async def main(url, gateway_id, platform, until_closed):
    report("version", version=importlib.metadata.version("hermes-agent"))
    transport = Reporting(url, platform, "bot-1", gateway_id=gateway_id, upgrade_secret=os.environ["RELAY_TEST_SECRET"])
    events = asyncio.Queue()
    transport.set_inbound_handler(events.put)
    if until_closed:
        try:
            await transport.connect()
        except Exception as error:
            # A close before the hello is written ends the dial itself.
            report("dial failed", error=str(error))
        await asyncio.wait_for(asyncio.shield(transport._reader), CEILING_S)
        code = getattr(transport._ws, "close_code", None)
        reason = getattr(transport._ws, "close_reason", None)
        report("closed", code=code, reason=reason, revoked=transport.auth_revoked)
        return
    await transport.connect()
    descriptor = await transport.handshake()
    report("handshake", platform=descriptor.platform, limit=descriptor.max_message_length, unit=descriptor.len_unit)
    event = await asyncio.wait_for(events.get(), CEILING_S)
    report("inbound", text=event.text, chat=event.source.chat_id, message=event.message_id, profile=event.source.profile)
    action = {"op": "send", "chat_id": event.source.chat_id, "content": "answer to " + event.text,
              "reply_to": event.message_id, "metadata": {"scope_id": event.source.scope_id}}
    result = await transport.send_outbound(action, platform=platform)
    report("result", result=result)
    action = {"op": "edit", "chat_id": event.source.chat_id, "message_id": result["message_id"], "content": "edited"}
    report("edited", result=await transport.send_outbound(action, platform=platform))
    report("chat", info=await transport.get_chat_info(event.source.chat_id))
    report("idle", acknowledged=await transport.go_idle())
    await transport.disconnect()
    report("end")


flags = [argument for argument in sys.argv[1:] if argument.startswith("--")]
arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
asyncio.run(main(*arguments, "--until-closed" in flags))
