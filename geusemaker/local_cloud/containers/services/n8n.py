"""n8n: workflows are rows in PostgreSQL; its encryption key is in a file of its own folder, as with the real one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from geusemaker.local_cloud.containers.services import http, n8n_schema
from geusemaker.local_cloud.containers.services.container import Container, StartError, complain, log
from geusemaker.local_cloud.containers.services.database import Database, DatabaseError
from geusemaker.local_cloud.containers.services.image import Image
from geusemaker.local_cloud.files import write

PORT = 5678
HOME = "/home/node/.n8n"

IMAGE: Final = Image(
    "n8nio/n8n",
    {
        "ExposedPorts": {f"{PORT}/tcp": {}},
        "User": "node",
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "Entrypoint": ["tini", "--", "/docker-entrypoint.sh"],
        "WorkingDir": "/home/node",
    },
    tags=(
        *("1.100.0", "1.100.1", "1.101.3", "1.123.5", "1.123.81", "2.0.3", "2.41.1", "2.42.6", "2.43.3"),
        *("latest", "next", "stable"),
    ),
)
_CONNECT_SECONDS = 60.0
_API_SECONDS = 0.5
"""From the last migration to the REST API: 1 to 4 s were seen on two busy cores."""
_LONG_STEPS = 20
_BAD_MIGRATION = (
    "CREATE TABLE half_done (id INT); SELECT pg_sleep(1.5); "
    "DO $$ BEGIN RAISE EXCEPTION 'a row that is there breaks a new rule'; END $$;"
)


def run(container: Container) -> None:
    """Start; returns when it serves. Health answers before the database is there, readiness does not."""
    if container.misbehaviour == "crash":
        raise StartError(
            "Error: Command \"start\" failed\nTypeError: Cannot read properties of undefined (reading 'init')"
        )
    _check_encryption_key(container)
    if "worker" in container.command:
        _work(container)
        return
    log("Initializing n8n process")
    store = _Workflows(container)
    environment = container.environment

    # n8n's packages/cli/src/abstract-server.ts: what follows is registered before the database is there.
    def health(request: http.Request) -> Any:
        return {"status": "ok"}

    def readiness(request: http.Request) -> Any:
        migrated = store.is_migrated and (store.has_api or not _waits_for_api(container))
        return http.ready_or_503(container.is_ready and migrated and store.is_reachable(), {"status": "ok"})

    def anything_else(request: http.Request) -> Any:
        if not store.is_connected:
            raise http.HttpError(503, {"code": 503, "message": "Database is not ready!"})
        if not (store.is_migrated and container.is_ready):
            return "n8n is starting up. Please wait"
        raise http.HttpError(404, f"Cannot {request.method} {request.path}")

    def editor(request: http.Request) -> Any:
        return (
            f"n8n {container.tag}\n\nThe editor would be here. The local cloud runs a stand-in for n8n, which keeps "
            "workflows and runs none;\non a Docker daemon (deploy --local-runtime docker) it runs n8n itself.\n"
        )

    def of_the_api(handler: http.Handler) -> http.Handler:
        return lambda request: (handler if store.has_api and container.is_ready else anything_else)(request)

    def settings(request: http.Request) -> Any:
        unowned = not store.has_owner()
        return {"data": {"settingsMode": "public", "userManagement": {"showSetupOnFirstLoad": unowned}}}

    def set_up_owner(request: http.Request) -> Any:
        document = request.json()
        if store.has_owner():
            raise http.HttpError(400, {"code": 400, "message": "Instance owner already setup"})
        if not isinstance(document, dict) or not isinstance(document.get("email"), str):
            raise http.HttpError(400, {"code": 400, "message": "Invalid email address"})
        return {"data": store.add_owner(document["email"])}

    def log_in(request: http.Request) -> Any:
        document = request.json()
        if not isinstance(document, dict) or not store.knows(str(document.get("emailOrLdapLoginId", ""))):
            raise http.HttpError(401, {"code": 401, "message": "Wrong username or password. Do you have caps lock on?"})
        return {"data": {"email": document["emailOrLdapLoginId"]}}

    def listing(request: http.Request) -> Any:
        return {"data": store.all()}

    def create(request: http.Request) -> Any:
        document = request.json()
        if not isinstance(document, dict) or not isinstance(document.get("name"), str):
            raise http.HttpError(400, {"code": 400, "message": "request/body must have required property 'name'"})
        return {"data": store.add(document)}

    rest = re.escape(environment.get("N8N_ENDPOINT_REST", "rest"))
    has_ui = environment.get("N8N_DISABLE_UI", "").lower() not in ("true", "1")
    routes = [
        ("GET", "/healthz", health),
        ("GET", "/healthz/readiness", readiness),
        *([("GET", f"/{rest}/settings", of_the_api(settings)), ("GET", "/", of_the_api(editor))] if has_ui else []),
        ("POST", f"/{rest}/owner/setup", of_the_api(set_up_owner)),
        ("POST", f"/{rest}/login", of_the_api(log_in)),
        ("GET", f"/{rest}/workflows", of_the_api(listing)),
        ("POST", f"/{rest}/workflows", of_the_api(create)),
        ("GET", "/.*", anything_else),
    ]
    if environment.get("DB_TYPE", "sqlite") != "postgresdb":
        raise StartError("Error: the local cloud's n8n keeps workflows in PostgreSQL only; set DB_TYPE=postgresdb")
    http.serve(container.listener(int(environment.get("N8N_PORT", PORT))), routes, {"X-Image-Tag": container.tag})
    log(f"n8n ready on ::, port {PORT}")
    threading.Thread(target=_migrate, args=(container, store), daemon=True).start()


def _work(container: Container) -> None:
    """Be a worker: it serves nothing but its health, where it is told to, and is well while the database is there.

    The queue is not looked at: Redis is a stand-in that answers nothing.
    """
    environment = container.environment
    if environment.get("EXECUTIONS_MODE", "queue") != "queue" or not environment.get("QUEUE_BULL_REDIS_HOST"):
        raise StartError("Error: Unable to connect to Redis after trying to connect for 10s")
    store = _Workflows(container)

    def health(request: http.Request) -> Any:
        return {"status": "ok"}

    def readiness(request: http.Request) -> Any:
        return http.ready_or_503(container.is_ready and store.is_reachable(), {"status": "ok"})

    if environment.get("QUEUE_HEALTH_CHECK_ACTIVE", "").lower() in ("true", "1"):
        routes = [("GET", "/healthz", health), ("GET", "/healthz/readiness", readiness)]
        listener = container.listener(int(environment.get("QUEUE_HEALTH_CHECK_PORT", PORT)))
        http.serve(listener, routes, {"X-Image-Tag": container.tag})

    def connect() -> None:
        deadline = time.monotonic() + _CONNECT_SECONDS
        while not store.is_reachable():
            if time.monotonic() >= deadline:
                complain("There was an error initializing DB")
                os._exit(1)
            time.sleep(0.2)
        log("n8n worker is now ready\n * Version: " + container.version)

    threading.Thread(target=connect, daemon=True).start()


def _check_encryption_key(container: Container) -> None:
    file = container.path(HOME) / "config"
    given = container.environment.get("N8N_ENCRYPTION_KEY", "")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        kept = json.loads(file.read_text())["encryptionKey"]
        if given and given != kept:
            # packages/core/src/instance-settings of n8n
            raise StartError(
                f"Error: Mismatching encryption keys. The encryption key in the settings file {HOME}/config does not "
                "match the N8N_ENCRYPTION_KEY env var. Please make sure both keys match. More information: "
                "https://docs.n8n.io/hosting/environment-variables/configuration-methods/#encryption-key"
            )
        log(f"User settings loaded from: {HOME}/config")
        return
    write(file, json.dumps({"encryptionKey": given or secrets.token_urlsafe(24)}, indent=1))
    log(f"No encryption key found - Auto-generating and saving to: {HOME}/config" if not given else "Settings saved")


def _migrate(container: Container, store: _Workflows) -> None:
    # The real one gives up on its database after a while and exits, for its restart policy to try again.
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            store.database.run("SELECT 1")
            store.is_connected = True
            if container.misbehaviour == "badmigration":
                store.database.run(_BAD_MIGRATION)
            for name in n8n_schema.migrate(store.database, container.tag):
                log(f"Finished migration {name}")
            if container.misbehaviour == "longmigration":
                _migrate_on_and_on(store.database)
        except DatabaseError as error:
            if error.is_passing and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            complain(f"There was an error initializing DB\n{error}")
            os._exit(1)
        else:
            store.is_migrated = True
            time.sleep(_API_SECONDS)
            store.has_api = True
            log(f"Version: {container.version}\n\nEditor is now accessible via:\nhttp://localhost:{PORT}")
            return


def _waits_for_api(container: Container) -> bool:
    """Whether this release says that it is ready only when its API is there, as 2.41 was seen to and 2.0 was not."""
    return n8n_schema.version_of(container.tag) >= n8n_schema.IN_ONE_TRANSACTION


def _migrate_on_and_on(database: Database) -> None:
    for number in range(_LONG_STEPS):
        name = f"LongMigration{1700000000000 + number}"
        database.run(
            "SELECT pg_sleep(0.5) WHERE NOT EXISTS (SELECT 1 FROM migrations WHERE name = :'name');"
            "INSERT INTO migrations (timestamp, name) SELECT :'timestamp', :'name' "
            "WHERE NOT EXISTS (SELECT 1 FROM migrations WHERE name = :'name');",
            timestamp=name[-13:],
            name=name,
        )


class _Workflows:
    """The table ``workflow_entity``; one short connection a question, so a restarted database does no harm."""

    def __init__(self, container: Container) -> None:
        self.database = Database(container)
        self._columns = n8n_schema.user_columns(container.tag)
        self.is_connected = self.is_migrated = self.has_api = False

    def is_reachable(self) -> bool:
        try:
            self.database.run("SELECT 1 FROM workflow_entity LIMIT 1")
        except DatabaseError:
            return False
        return True

    def has_owner(self) -> bool:
        """Whether somebody set n8n up; the first who comes does."""
        with _answering():
            return bool(self.database.rows('SELECT id FROM "user" WHERE email IS NOT NULL LIMIT 1'))

    def knows(self, email: str) -> bool:
        """Whether somebody of that address may log in. It is looked for in the columns that this release knows.

        Raises:
            HttpError: 500, one of them is not there any more.
        """
        try:
            return bool(
                self.database.rows(f"""SELECT {self._columns} FROM "user" WHERE email = :'email'""", email=email)
            )
        except DatabaseError as error:
            status = 503 if error.is_passing else 500
            raise http.HttpError(status, {"code": 0, "message": str(error).splitlines()[0]}) from None

    def add_owner(self, email: str) -> dict[str, Any]:
        with _answering():
            self.database.run("""INSERT INTO "user" (email) VALUES (:'email')""", email=email)
        return {"email": email}

    def all(self) -> list[dict[str, Any]]:
        with _answering():
            return self.database.rows("SELECT id, name, active FROM workflow_entity ORDER BY name, id")

    def add(self, document: dict[str, Any]) -> dict[str, Any]:
        workflow = {"id": secrets.token_hex(8), "name": document["name"], "active": False}
        with _answering():
            self.database.run(
                "INSERT INTO workflow_entity (id, name, active, nodes) VALUES (:'id', :'name', false, :'nodes')",
                id=str(workflow["id"]),
                name=str(workflow["name"]),
                nodes=json.dumps(document.get("nodes", [])),
            )
        return workflow


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise http.HttpError(503, {"code": 503, "message": f"Database is not ready! {error}"}) from None
