"""Runs on an instance: asks its services all the time, and says when each was to be had.

    python3 -uIS probe.py SECONDS PORT PATH [PORT PATH ...]

Each service is asked anew every SECONDS. A line is written when an answer is unlike the one before (``PORT up|down
TIME``, by the monotonic clock, which all processes of the machine share), and now and then one with how many requests
there were so far (``PORT asked COUNT failed COUNT``). It ends when its standard input does.
"""

import os
import socket
import sys
import threading
import time


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # in one piece: the services are asked by threads, whose lines must not mix


def ask(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def watch(port: int, path: str, seconds: float, ended: threading.Event) -> None:
    asked, failed, last = 0, 0, None
    while not ended.is_set():
        begun = time.monotonic()
        answered = ask(port, path)
        asked += 1
        failed += not answered
        if answered is not last:
            last = answered
            # Down from when it was asked in vain, up from when it had answered.
            say(f"{port} {'up' if answered else 'down'} {time.monotonic() if answered else begun:.4f}")
        if asked % 50 == 0:
            say(f"{port} asked {asked} failed {failed}")
        ended.wait(max(0.0, begun + seconds - time.monotonic()))


def end(reason: threading.ExceptHookArgs) -> None:
    """A service that nobody asks any more must not look like one that stays as it was."""
    sys.excepthook(reason.exc_type, reason.exc_value or reason.exc_type(), reason.exc_traceback)
    os._exit(1)


def main() -> None:
    threading.excepthook = end
    seconds, services = float(sys.argv[1]), list(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    ended = threading.Event()
    threads = [threading.Thread(target=watch, args=(int(port), path, seconds, ended)) for port, path in services]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
