"""``session-manager-plugin`` for the local cloud: forwards a local port, called as AWS's own by the AWS CLI.

    session-manager-plugin AWS_SSM_START_SESSION_RESPONSE REGION StartSession PROFILE REQUEST ENDPOINT

As of version 1.2.497.0 the first argument may be the name of the variable that has StartSession's answer
(https://github.com/aws/aws-cli/blob/develop/awscli/customizations/sessionmanager.py).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"
LOOK_SECONDS = 1.0


class Gone(Exception):
    """The session leads nowhere."""


def place(answer: dict[str, Any]) -> tuple[str, int]:
    """Where the session leads."""
    request = urllib.request.Request(
        answer["StreamUrl"].replace("ws://", "http://", 1), headers={"X-Token": answer["TokenValue"]}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as told:
            found = json.load(told)
    except urllib.error.HTTPError as error:
        with error:
            raise Gone(json.load(error)["problem"]) from None
    except OSError as error:
        raise Gone(str(error)) from None
    return found["host"], found["port"]


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, sink):
            one.close()


def serve(answer: dict[str, Any], here: socket.socket) -> None:
    with here:
        try:
            there = socket.create_connection(place(answer), 10)
        except (OSError, Gone) as error:
            print(f"Connection to destination port failed: {error}", flush=True)
            return
        with there:
            there.settimeout(None)
            back = threading.Thread(target=pump, args=(there, here), daemon=True)
            back.start()
            pump(here, there)
            back.join()


def watch(answer: dict[str, Any]) -> None:
    """End with the session, as AWS's does when its web socket is closed."""
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            place(answer)
        except Gone as error:
            print(f"SessionId: {answer['SessionId']} : {error}", flush=True)
            os._exit(1)


def main(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print("1.2.764.0")
        return 0
    if len(arguments) != 6 or arguments[2] != "StartSession":
        print("Use session-manager-plugin --version to check the version. (wrong arguments)", file=sys.stderr)
        return 1
    answer = json.loads(os.environ[VARIABLE] if arguments[0] == VARIABLE else arguments[0])
    port = int(json.loads(arguments[4])["Parameters"]["localPortNumber"][0])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"\nStarting session with SessionId: {answer['SessionId']}", flush=True)
    try:
        place(answer)
        listener = socket.create_server(("127.0.0.1", port))
    except (OSError, Gone) as error:
        print(f"Cannot perform start session: {error}", flush=True)
        return 1
    print(f"Port {port} opened for sessionId {answer['SessionId']}.\nWaiting for connections...", flush=True)
    threading.Thread(target=watch, args=(answer,), daemon=True).start()
    while True:
        here, _ = listener.accept()
        threading.Thread(target=serve, args=(answer, here), daemon=True).start()
