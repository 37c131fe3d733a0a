"""Lets the original's own relay client talk to a connector, and says on standard output what happened.

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


def say(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


class Told(WebSocketRelayTransport):
    """The original's transport, with every frame told as it passes."""

    async def _send(self, frame):
        say("frame", direction="to connector", frame=frame)
        await super()._send(frame)

    async def _handle_frame(self, line):
        say("frame", direction="to gateway", frame=json.loads(line))
        await super()._handle_frame(line)


async def main(url, gateway_id, platform, until_closed):
    say("version", version=importlib.metadata.version("hermes-agent"))
    transport = Told(url, platform, "bot-1", gateway_id=gateway_id, upgrade_secret=os.environ["RELAY_TEST_SECRET"])
    events = asyncio.Queue()
    transport.set_inbound_handler(events.put)
    if until_closed:
        try:
            await transport.connect()
        except Exception as error:
            # A close that comes before the hello is written ends the dial itself.
            say("dial failed", error=str(error))
        await asyncio.wait_for(asyncio.shield(transport._reader), CEILING_S)
        code = getattr(transport._ws, "close_code", None)
        reason = getattr(transport._ws, "close_reason", None)
        say("closed", code=code, reason=reason, revoked=transport.auth_revoked)
        return
    await transport.connect()
    descriptor = await transport.handshake()
    say("handshake", platform=descriptor.platform, limit=descriptor.max_message_length, unit=descriptor.len_unit)
    event = await asyncio.wait_for(events.get(), CEILING_S)
    say("inbound", text=event.text, chat=event.source.chat_id, message=event.message_id, profile=event.source.profile)
    action = {"op": "send", "chat_id": event.source.chat_id, "content": "you said: " + event.text,
              "reply_to": event.message_id, "metadata": {"scope_id": event.source.scope_id}}
    result = await transport.send_outbound(action, platform=platform)
    say("result", result=result)
    action = {"op": "edit", "chat_id": event.source.chat_id, "message_id": result["message_id"], "content": "edited"}
    say("edited", result=await transport.send_outbound(action, platform=platform))
    say("chat", info=await transport.get_chat_info(event.source.chat_id))
    say("idle", acknowledged=await transport.go_idle())
    await transport.disconnect()
    say("end")


flags = [argument for argument in sys.argv[1:] if argument.startswith("--")]
arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
asyncio.run(main(*arguments, "--until-closed" in flags))
