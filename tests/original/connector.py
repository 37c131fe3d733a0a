"""A connector on another WebSocket library, `websockets`, without code of Caduceus.

Usage: connector.py GATEWAY_ID, with the secret in RELAY_TEST_SECRET. Prints one JSON object per line, each with a "step"; the first has
its port. Runs one fixed sequence with the gateway that dials, and ends after the gateway's closing handshake.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sys
import time

from websockets.asyncio.server import serve

SECRET = os.environ["RELAY_TEST_SECRET"].encode()
DESCRIPTOR = {
    "contract_version": 1, "platform": "discord", "label": "Discord", "max_message_length": 60, "supports_draft_streaming": False,
    "supports_edit": False, "supports_threads": True, "markdown_dialect": "discord", "len_unit": "utf16",
    "supported_ops": ["send", "typing", "get_chat_info", "follow_up"],
}


def report(step, **facts):
    print(json.dumps({"step": step, **facts}), flush=True)


def authorised(header, gateway_id):
    token = (header or "").removeprefix("Bearer ")
    named, expires, signature = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().rsplit(":", 2)
    expected = hmac.new(SECRET, f"{named}:{expires}".encode(), hashlib.sha256).hexdigest()
    return named == gateway_id and hmac.compare_digest(expected, signature) and time.time() < int(expires) < time.time() + 301


class Session:
    def __init__(self, gateway_id):
        self.gateway_id, self.dials, self.ended = gateway_id, 0, asyncio.Event()

    async def run(self, socket):
        self.dials += 1
        report("dialled", dial=self.dials, authorised=authorised(socket.request.headers.get("Authorization"), self.gateway_id))
        self.socket, self.partial = socket, ""
        hello = await self.until("hello")
        await self.send({"type": "descriptor", "descriptor": DESCRIPTOR})
        report("hello", platform=hello["platform"], bot=hello["botId"])
        if self.dials == 1:
            event = {"text": "one two three " * 12, "message_type": "text", "message_id": "m1",
                     "source": {"platform": "discord", "chat_id": "c1", "chat_type": "dm", "user_id": "u1", "user_name": "Ann"}}
            # Two and a half frames in one message, the rest in a binary one.
            lines = "".join(json.dumps(frame) + "\n" for frame in (
                {"type": "of a later contract"}, {"type": "inbound", "event": event, "bufferId": "b1"}))
            await socket.send(lines[:-40])
            await socket.send(lines[-40:].encode())
            report("acknowledged", buffer=(await self.until("inbound_ack"))["bufferId"])
            parts = []
            while "".join(parts).count("three") < 12:
                frame = await self.until("outbound")
                if frame["action"]["op"] == "send":
                    parts.append(frame["action"]["content"])
                await self.send({"type": "outbound_result", "requestId": frame["requestId"],
                                 "result": {"success": True, "message_id": f"m{len(parts)}"}})
            report("answered", longest=max(len(part.encode("utf-16-le")) // 2 for part in parts), parts=len(parts))
            await socket.close(4401, "expired")
            return
        # The same event again: it must be acknowledged, and not run again.
        await self.send({"type": "inbound", "bufferId": "b1", "event": {
            "text": "again", "message_id": "m1", "source": {"platform": "discord", "chat_id": "c1", "chat_type": "dm", "user_id": "u1"}}})
        report("acknowledged again", buffer=(await self.until("inbound_ack"))["bufferId"])
        await self.until("going_idle")
        await self.send({"type": "going_idle_ack"})
        report("idle")
        await socket.wait_closed()
        report("closed", code=socket.close_code)
        self.ended.set()

    async def send(self, frame):
        await self.socket.send(json.dumps(frame) + "\n")

    async def until(self, kind):
        while True:
            while "\n" not in self.partial:
                self.partial += await asyncio.wait_for(self.socket.recv(), 30)
            line, self.partial = self.partial.split("\n", 1)
            frame = json.loads(line)
            if frame["type"] == kind:
                return frame
            report("other frame", frame=frame)


async def main(gateway_id):
    session = Session(gateway_id)
    async with serve(session.run, "127.0.0.1", 0) as server:
        report("listening", port=server.sockets[0].getsockname()[1])
        await session.ended.wait()


asyncio.run(main(*sys.argv[1:]))
