"""Runs the original's own relay client through all its steps against a connector, and reports each on standard output.

Usage: full_session.py URL GATEWAY_ID, with the secret in RELAY_TEST_SECRET. Each line printed is one JSON object with a
"step"; the test that reads them provides what a step needs from the other side.
"""

import asyncio
import json
import os
import sys

from gateway.relay.ws_transport import WebSocketRelayTransport

CEILING_S = 30
REPLAYED = 3


def report(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


async def main(url, gateway_id):
    fronted = [("discord", "bot-d"), ("telegram", "bot-t")]
    transport = WebSocketRelayTransport(
        url, "discord", "bot-d", identities=fronted, gateway_id=gateway_id,
        upgrade_secret=os.environ["RELAY_TEST_SECRET"], reconnect=True, reconnect_backoff_s=0.1)
    # Long enough that events meanwhile find no connection.
    transport._dormant_redial_s = 2.0
    events, forwards, interrupts = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    transport.set_inbound_handler(events.put)

    async def forwarded(forward, buffer_id):
        await forwards.put(forward)
        # The original leaves the acknowledgement to the handler of the frame.
        await transport._send_inbound_ack(buffer_id)

    async def interrupted(session_key, chat_id):
        await interrupts.put(session_key)

    transport.set_passthrough_handler(forwarded)
    transport.set_interrupt_inbound_handler(interrupted)

    async def awaited(queue):
        return await asyncio.wait_for(queue.get(), CEILING_S)

    await transport.connect()
    descriptor = await transport.handshake()
    report("handshake", platform=descriptor.platform)

    for platform, bot in fronted:
        event = await awaited(events)
        action = {"op": "send", "chat_id": event.source.chat_id, "content": "answer to " + event.text,
                  "reply_to": event.message_id, "metadata": {"scope_id": event.source.scope_id}}
        result = await transport.send_outbound(action, platform=platform)
        report("answered", platform=platform, message=event.message_id, result=result)

    forward = await awaited(forwards)
    interaction = json.loads(forward.body)
    session_key = f"agent:main:relay:channel:{interaction['channel_id']}:{interaction['member']['user']['id']}"
    action = {"op": "follow_up", "session_key": session_key, "kind": "discord.interaction_token", "content": "followed up",
              "metadata": {}}
    report("followed up", result=await transport.send_follow_up(action, platform="discord"))

    report("interrupted", session=await awaited(interrupts))
    await transport.send_interrupt("agent:main:discord:channel:c9:u1", "enough")
    report("interrupt came back", session=await awaited(interrupts))

    report("dormant", acknowledged=await transport.go_dormant())
    replayed = [(await awaited(events)).message_id for _ in range(REPLAYED)]
    report("replayed", messages=replayed)

    for _ in range(CEILING_S * 10):
        if transport.auth_revoked:
            break
        await asyncio.sleep(0.1)
    report("revoked", revoked=transport.auth_revoked)
    await transport.disconnect()


asyncio.run(main(*sys.argv[1:]))
