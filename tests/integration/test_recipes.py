"""The recipes of docs/OPERATIONS.md work to the letter, on Debian's servers, with `grab` from the installed wheel.

Each recipe provisions, migrates, starts ledger and service, lets the doctor look in the three environments, sells, and audits.
Run with GRAB_RECIPES=1, for they take minutes, and where Debian's packages are: redis-server, postgresql, and for two of them
pgbouncer, haproxy and redis-sentinel.
"""

import asyncio
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from redis.asyncio import Redis

from grab_service.embedded.ports import free_port
from tests.harness.recipes import POSTGRES, Recipe, certificate, haproxy_cfg, lacks, pgbouncer_ini, sentinel_conf

ROOT: Final = Path(__file__).resolve().parents[2]
REDIS: Final = shutil.which("redis-server")
PASSWORD: Final = "0f3b8c1d2e4a5968778695a4b3c2d1e0"  # of servers that live as long as a test
PATIENCE_S: Final = 60.0
MARKS: Final = {"api": "a1", "ledger": "b2", "guard": "c3", "owner": "d4"}
"""Before the password of each, so that none has that of another."""
MACHINE: Final = {"open-files", "accept-queue", "disk", "clock", "proxy"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("GRAB_RECIPES"), reason="takes minutes: GRAB_RECIPES=1"),
    pytest.mark.skipif(POSTGRES is None or REDIS is None, reason="needs Debian's redis-server and postgresql"),
]


def needs(recipe: Recipe) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(lacks(recipe)), reason=lacks(recipe))


@pytest.fixture(scope="module")
def grab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`grab` of a wheel that was built and installed, apart from the checkout; libraries are those of this environment."""
    home = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(home), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = home.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)
    (site,) = (home / "venv/lib").glob("python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    # The libraries of this environment, but not what it has of the checkout.
    libraries = Path(httpx.__file__).parents[1]
    for entry in libraries.iterdir():
        if not entry.name.startswith(("grab_service", "__editable__", "_grab")) and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    script = home / "grab"
    script.write_text(f'#!/bin/sh\nexec {home}/venv/bin/python -m grab_service.cli.main "$@"\n')
    script.chmod(0o755)
    where = subprocess.run(
        [home / "venv/bin/python", "-c", "import grab_service; print(grab_service.__file__)"],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(site) in where.stdout, "it is the installed one"
    return script


def identity(name: str) -> dict[str, Any]:
    """Run as this user of Debian's, if we may be anybody."""
    if os.geteuid():
        return {}
    user = pwd.getpwnam(name)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@asynccontextmanager
async def process(*words: str, as_user: str = "", cwd: Path | str = "/") -> AsyncIterator[asyncio.subprocess.Process]:
    who = identity(as_user) if as_user else {}
    child = await asyncio.create_subprocess_exec(
        *words, cwd=cwd, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, **who
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(child.wait(), 20)
            except TimeoutError:
                child.kill()
                await child.wait()


@dataclass
class Servers:
    """Debian's two servers, and how they are reached: `redis` and `postgres` are addresses without a login."""

    redis: str
    postgres: str
    redis_port: int
    query: dict[str, str] = field(default_factory=lambda: {"redis": "", "postgres": ""})

    def redis_url(self, user: str, password: str) -> str:
        return f"{self.redis.replace('://', f'://{user}:{password}@', 1)}/0{self.query['redis']}"

    def postgres_url(self, user: str, password: str) -> str:
        return f"{self.postgres.replace('://', f'://{user}:{password}@', 1)}/grab{self.query['postgres']}"


@asynccontextmanager
async def debian(home: Path, *, tls: bool = False) -> AsyncIterator[Servers]:
    """A primary of Redis and a cluster of PostgreSQL, as Debian's packages bring them, set up as docs/OPERATIONS.md says."""
    assert POSTGRES is not None
    assert REDIS is not None
    home.chmod(0o755)  # noqa: ASYNC240 -- before anything is served
    for parent in home.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    data, redis_dir = home / "pg", home / "redis"
    data.mkdir()
    redis_dir.mkdir()
    redis_port, postgres_port = free_port(), free_port()
    options = ["-c", "listen_addresses=127.0.0.1", "-p", str(postgres_port), "-c", f"unix_socket_directories={home}"]
    redis_words = [
        *("--dir", str(redis_dir), "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
        *("--no-appendfsync-on-rewrite", "no", "--maxmemory-policy", "noeviction", "--aclfile", str(redis_dir / "users.acl")),
    ]
    (redis_dir / "users.acl").write_text(f"user default on >{PASSWORD} ~* &* +@all\n")
    query = {"redis": "", "postgres": ""}
    if tls:
        ca, made, key = certificate(home)
        redis_words += ["--port", "0", "--tls-port", str(redis_port), "--tls-cert-file", str(made), "--tls-key-file", str(key)]
        redis_words += ["--tls-ca-cert-file", str(ca), "--tls-auth-clients", "no"]
        own = data.parent / "pg.key"
        shutil.copy(key, own)
        options += ["-c", "ssl=on", "-c", f"ssl_cert_file={made}", "-c", f"ssl_key_file={own}"]
        query = {"redis": f"?ssl_ca_certs={ca}", "postgres": f"?sslmode=verify-full&sslrootcert={ca}"}
    else:
        redis_words += ["--port", str(redis_port)]
    if not os.geteuid():
        user = pwd.getpwnam("postgres")
        for path in (data, home / "pg.key", home):
            if path.exists():
                os.chown(path, user.pw_uid, user.pw_gid)
    if (home / "pg.key").exists():
        (home / "pg.key").chmod(0o600)
    (home / "pw").write_text(PASSWORD)
    (home / "pw").chmod(0o644)
    initdb = [str(POSTGRES / "initdb"), "-D", str(data), "-U", "grab", "-E", "UTF8", "-A", "scram-sha-256", "--pwfile"]
    initdb += [str(home / "pw"), "--locale=C"]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/", **identity("postgres"))  # noqa: ASYNC221 -- a moment
    scheme, host = ("rediss", "localhost") if tls else ("redis", "127.0.0.1")
    servers = Servers(f"{scheme}://{host}:{redis_port}", f"postgresql://{host}:{postgres_port}", redis_port, query)
    async with (
        process(REDIS, *redis_words),
        process(str(POSTGRES / "postgres"), "-D", str(data), *options, as_user="postgres"),
    ):
        env = {"PGPASSWORD": PASSWORD, "PATH": os.environ["PATH"]}
        create = [str(POSTGRES / "createdb"), "-h", "127.0.0.1", "-p", str(postgres_port), "-U", "grab", "-E", "UTF8", "grab"]
        until_s = time.monotonic() + PATIENCE_S
        while subprocess.run(create, capture_output=True, env=env, cwd="/", check=False).returncode:  # noqa: ASYNC221
            assert time.monotonic() < until_s, "PostgreSQL does not come up"
            await asyncio.sleep(0.2)
        yield servers


def end(child: asyncio.subprocess.Process) -> None:
    """Tell it to end, if it has not."""
    if child.returncode is None:
        child.terminate()


class District:
    """Ledger and service of one recipe, started as docs/OPERATIONS.md says, each with an environment of its own."""

    def __init__(self, grab: Path, home: Path, servers: Servers, **more: str) -> None:
        self._grab, self._home = grab, home
        self.port = free_port()
        self.passwords = {who: f"{mark}{PASSWORD}" for who, mark in MARKS.items()}
        redis = {who: servers.redis_url(f"grab-district-{who}", self.passwords[who]) for who in ("api", "ledger", "guard")}
        postgres = {who: servers.postgres_url(f"grab_district_{who}", self.passwords[who]) for who in MARKS}
        secrets = {"GRAB_SECRETS": f"k1:{PASSWORD[::-1]}", "GRAB_OPS_SECRETS": f"o1:{PASSWORD[1:]}9e"}
        app = {"GRAB_ASSERTION_ISSUER": "app", "GRAB_ASSERTION_SECRET": f"{PASSWORD}-of-the-host-app"}
        given = {f"GRAB_{who.upper()}_PASSWORD": password for who, password in self.passwords.items()}
        redis_url, database_url = servers.redis_url("default", PASSWORD), servers.postgres_url("grab", PASSWORD)
        addresses = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
        self.admin = {**addresses, **more}
        self.of_provision = {**addresses, **given}
        self.owner = {"DATABASE_URL": postgres["owner"]}
        self.ledger = {"REDIS_URL": redis["ledger"], "GRAB_GUARD_REDIS_URL": redis["guard"], "DATABASE_URL": postgres["ledger"]}
        self.ledger |= more
        self.service = {"REDIS_URL": redis["api"], "DATABASE_URL": postgres["api"], "GRAB_PORT": str(self.port)}
        self.service |= secrets | app | more

    def _env(self, env: dict[str, str]) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self._home), "LC_ALL": "C.UTF-8", **env}

    def run(self, env: dict[str, str], *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """One command to its end."""
        return subprocess.run(
            [self._grab, *words], env=self._env(env), cwd=self._home, input=stdin, capture_output=True, text=True, check=False
        )

    def ok(self, env: dict[str, str], *words: str, stdin: str = "") -> str:
        said = self.run(env, *words, stdin=stdin)
        assert said.returncode == 0, (words, said.stdout, said.stderr)
        return said.stdout

    def doctor(self, env: dict[str, str]) -> dict[str, str]:
        """The checks that are not ok, but for those of this machine's size."""
        said = self.run(env, "doctor", "--json")
        checks = json.loads(said.stdout)["checks"]
        return {c["name"]: c["state"] for c in checks if c["state"] != "ok" and c["name"] not in MACHINE}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Both programs, until the service is ready."""
        async with AsyncExitStack() as stack:
            for name, env in (("reconcile", self.ledger), ("serve", self.service)):
                log = (self._home / f"{name}.log").open("wb")
                stack.callback(log.close)
                child = await asyncio.create_subprocess_exec(
                    str(self._grab), name, env=self._env(env), cwd=self._home, stdout=log, stderr=log
                )
                stack.push_async_callback(child.wait)
                stack.callback(end, child)
            async with httpx.AsyncClient(trust_env=False) as client:
                until_s, said = time.monotonic() + PATIENCE_S, ""
                while True:
                    try:
                        answer = await client.get(f"http://127.0.0.1:{self.port}/readyz")
                        said = answer.text
                        if answer.status_code == 200:
                            break
                    except httpx.TransportError as error:
                        said = repr(error)
                    logs = "".join((self._home / f"{name}.log").read_text()[-1500:] for name in ("reconcile", "serve"))
                    assert time.monotonic() < until_s, (said, logs)
                    await asyncio.sleep(0.1)
            yield

    async def sells(self, members: range) -> None:
        """A campaign of five units, wanted by these members; then the books agree."""
        header = "member_id,org_id,person_id,name,tags,birthday_month,joined_on,status"
        rows = "\n".join(f"m-{n},org-1,,张三,,,,active" for n in members)
        self.ok(self.service, "members", "import", "-", stdin=f"{header}\n{rows}\n")
        now = datetime.now(UTC)
        body = {
            "title": "券",
            "releases": [{"opens_at": (now - timedelta(seconds=1)).isoformat(), "quantity": 5}],
            "closes_at": (now + timedelta(hours=1)).isoformat(),
            "benefit": {"kind": "generated_code", "name": "券", "valid_days": 30},
        }
        made = json.loads(self.ok(self.service, "campaign", "create", "-", "--json", stdin=json.dumps(body)))
        self.ok(self.service, "campaign", "schedule", made["campaign_id"])
        minted = self.ok(self.service, "passes", "mint", "-", stdin="".join(f"m-{n}\n" for n in members))
        passes = dict(line.split("\t") for line in minted.splitlines())
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            url = f"http://127.0.0.1:{self.port}/v1/campaigns/{made['campaign_id']}/claims"
            answers = [await client.post(url, headers={"authorization": f"Bearer {shown}"}) for shown in passes.values()]
        assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * (len(members) - 5)
        audit = json.loads(self.ok(self.service, "audit", "--json"))
        assert (audit["holds"], audit["redis_equals_postgres"]) == (True, True)


UNSEEN: Final = {"secrets": "unseen", "sign-in": "unseen"}


async def followed(district: District) -> None:
    """The page to the letter: provision, migrate, doctor as ledger, start both, doctor as service, ledger, admin; sell."""
    district.ok(district.of_provision, "provision")
    district.ok(district.owner, "migrate")
    async with district.running():
        await district.sells(range(8))
        await asyncio.sleep(6)  # the ledger has looked at Redis' settings
        assert district.doctor(district.service) == {}
        assert district.doctor(district.ledger) == UNSEEN
        assert district.doctor(district.admin) == UNSEEN


async def test_the_page_is_followed_to_the_letter_on_debians_servers(grab: Path, tmp_path: Path) -> None:
    async with debian(tmp_path) as servers:
        await followed(District(grab, tmp_path, servers))


async def test_tls_to_both_stores_is_verified(grab: Path, tmp_path: Path) -> None:
    async with debian(tmp_path, tls=True) as servers:
        district = District(grab, tmp_path, servers)
        await followed(district)
        (tmp_path / "other").mkdir()
        other, _, _ = certificate(tmp_path / "other")
        for name in ("REDIS_URL", "DATABASE_URL"):
            wrong = {**district.service, name: district.service[name].replace(f"{tmp_path}/ca.pem", str(other))}
            said = district.run(wrong, "doctor")
            assert said.returncode == 1
            assert "certificate verify failed" in said.stdout, said.stdout
            assert PASSWORD not in said.stdout + said.stderr


async def test_a_user_without_config_info_and_acl_serves_and_what_is_not_known_is_said(grab: Path, tmp_path: Path) -> None:
    async with debian(tmp_path) as servers:
        district = District(grab, tmp_path, servers)
        district.ok(district.of_provision, "provision")
        district.ok(district.owner, "migrate")
        async with Redis.from_url(servers.redis_url("default", PASSWORD)) as admin:
            for who in ("api", "ledger", "guard"):
                await admin.execute_command(  # type: ignore[no-untyped-call]
                    "ACL", "SETUSER", f"grab-district-{who}", "-config", "-info", "-acl"
                )
        async with district.running():
            await district.sells(range(8))
            async with httpx.AsyncClient(trust_env=False) as client:
                ready = (await client.get(f"http://127.0.0.1:{district.port}/readyz")).json()
            states = {name: check["state"] for name, check in ready["checks"].items()}
            assert states["aof_policy"] == states["eviction_policy"] == "unknown"
            assert "failed" not in states.values(), ready
            found = district.doctor(district.service)
            assert "fail" not in found.values(), found
            assert {found["redis"], found["persistence"], found["rights"]} == {"warn"}


@needs(Recipe.PGBOUNCER)
async def test_pgbouncer_in_session_mode_stands_between(grab: Path, tmp_path: Path) -> None:
    async with debian(tmp_path) as servers:
        port = free_port()
        users = {"grab": PASSWORD} | {f"grab_district_{who}": f"{mark}{PASSWORD}" for who, mark in MARKS.items()}
        (tmp_path / "users.txt").write_text("".join(f'"{name}" "{password}"\n' for name, password in users.items()))
        postgres_at = int(servers.postgres.rpartition(":")[2])
        (tmp_path / "pgbouncer.ini").write_text(pgbouncer_ini(port, postgres_at, tmp_path / "users.txt"))
        for name in ("users.txt", "pgbouncer.ini"):
            (tmp_path / name).chmod(0o644)
        async with process("pgbouncer", "-q", str(tmp_path / "pgbouncer.ini"), as_user="postgres"):
            servers.postgres = f"postgresql://127.0.0.1:{port}"
            await asyncio.sleep(0.5)
            district = District(grab, tmp_path, servers)
            await followed(district)
            said = district.run(district.service, "doctor")
            assert "through a pooler" in said.stdout


@needs(Recipe.SENTINEL)
async def test_sentinel_promotes_a_replica_and_haproxy_leads_there(grab: Path, tmp_path: Path) -> None:
    assert REDIS is not None
    async with debian(tmp_path) as servers, AsyncExitStack() as stack:
        replica_dir, replica, sentinel, front = tmp_path / "replica", free_port(), free_port(), free_port()
        replica_dir.mkdir()
        shutil.copy(tmp_path / "redis/users.acl", replica_dir / "users.acl")
        await stack.enter_async_context(
            process(
                *(REDIS, "--port", str(replica), "--dir", str(replica_dir), "--appendonly", "yes", "--appendfsync", "always"),
                *("--save", "", "--maxmemory-policy", "noeviction", "--no-appendfsync-on-rewrite", "no"),
                *("--aclfile", str(replica_dir / "users.acl"), "--masterauth", PASSWORD),
                *("--replicaof", "127.0.0.1", str(servers.redis_port)),
            )
        )
        (tmp_path / "sentinel.conf").write_text(sentinel_conf(sentinel, tmp_path, servers.redis_port, PASSWORD))
        await stack.enter_async_context(process("redis-sentinel", str(tmp_path / "sentinel.conf")))
        (tmp_path / "haproxy.cfg").write_text(haproxy_cfg(front, (servers.redis_port, replica), PASSWORD))
        await stack.enter_async_context(process("haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")))
        direct = servers.redis_url("default", PASSWORD)
        servers.redis = f"redis://127.0.0.1:{front}"
        district = District(grab, tmp_path, servers, GRAB_REPLICAS_MIN="0")
        await asyncio.sleep(2)
        district.ok(district.of_provision, "provision")
        # A replica has users of its own.
        at_replica = {**district.of_provision, "REDIS_URL": f"redis://default:{PASSWORD}@127.0.0.1:{replica}/0"}
        district.run(at_replica, "provision")
        district.ok(district.owner, "migrate")
        async with district.running():
            await district.sells(range(8))
            async with Redis.from_url(direct) as primary:
                with_replica: Any = await primary.info("replication")
                assert with_replica["connected_slaves"] == 1
                await primary.shutdown(nosave=True)
            async with httpx.AsyncClient(trust_env=False) as client:
                until_s = time.monotonic() + PATIENCE_S
                while (await client.get(f"http://127.0.0.1:{district.port}/readyz")).status_code == 200:
                    await asyncio.sleep(0.05)  # it is noticed
                while (await client.get(f"http://127.0.0.1:{district.port}/readyz")).status_code != 200:
                    assert time.monotonic() < until_s, (tmp_path / "reconcile.log").read_text()[-2000:]
                    await asyncio.sleep(0.1)
            await district.sells(range(8, 16))
            assert "fail" not in district.doctor(district.service).values()
