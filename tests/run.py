# SPDX-License-Identifier: MIT
"""Runs what script/test is asked for: builds, then checks, unit tests and black-box tests, two at a time.

Every step is a program that ends with "N passed, N failed". One that does not (it crashed, hung or would not build) counts as one
failure. What a step prints goes to build-asan/test-logs/; of a step that failed the telling lines are shown.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOGS = ROOT / "build-asan/test-logs"
TOTAL = re.compile(r"^(\d+) passed, (\d+) failed$", re.M)

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}
BUILDS = {
    "build-asan": ("gcc", ["-Db_sanitize=address,undefined", "-Db_lundef=false"]),
    "build-tsan": ("clang", ["-Db_sanitize=thread", "-Db_lundef=false", "-Dbench=false", "-Dexamples=false"]),
    "build": ("gcc", []),
}


# Run a second time over TLS: the limits, the ends, and hostile requests.
OVER_TLS = {"api", "http_hostile", "shutdown",
            "http-server", "http-limits", "http-stop", "http-hub", "http-sse", "http-load"}

# And over HTTP/2, without and with TLS.
OVER_H2 = {"api": ("", "1"), "auth": ("1",), "shutdown": ("", "1"), "sse": ("", "1"), "http-hub": ("", "1"), "http-sse": ("", "1")}

# With the program's own clients over gRPC.
OVER_GRPC = {"work", "work_killed"}

# Fuzz targets of parts that may not be built.
OPTIONAL_FUZZ = {"chunks", "config", "grpc", "h1", "h2", "path", "sse"}

# What --quick leaves out: each takes some 15 s or more on a quiet machine.
SLOW = {"check aarch64", "check install", "check models", "check valgrind", "program bounds", "program dashboard", "program engines",
        "program idle", "program interop", "program nats_clients", "program sqs", "program tls", "program worker_forms",
        "unit queue-engines"}


class Step:
    def __init__(self, name, command, limit, **env):
        self.name, self.command, self.limit, self.env = name, [str(c) for c in command], limit, env


def run(step):
    """(step, passed, failed, seconds, what to show)"""
    start = time.monotonic()
    log = LOGS / (re.sub(r"[^\w.-]", "_", step.name) + ".log")
    if not os.access(step.command[0], os.X_OK):
        return step, 0, 1, 0.0, "it is not there: did it build?"
    with open(log, "w") as out:
        p = subprocess.Popen(step.command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
                             env={**os.environ, **SANITIZERS, **step.env}, start_new_session=True)
        try:
            status = p.wait(step.limit)
        except subprocess.TimeoutExpired:
            status = f"no end within {step.limit} s"
        # Nothing of a step may outlive it and disturb the next.
        try:
            os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        p.wait()
    text = log.read_text(errors="replace")
    totals = TOTAL.findall(text)
    passed, failed = (int(n) for n in totals[-1]) if totals else (0, 0)
    if status and not failed:
        failed = 1
        text += f"\n(ended with {status})"
    elif not totals:
        failed = 1
        text += "\n(no closing line)"
    show = ""
    if failed:
        lines = text.rstrip().split("\n")
        telling = [n for n in lines if n.startswith("not ok")]
        rest = [n for n in lines[-40:] if n not in telling]
        show = "\n".join(telling[:40] + ["…"] + rest) + f"\n  all of it: {log.relative_to(ROOT)}"
    return step, passed, failed, time.monotonic() - start, show


def build(name):
    """'' or what went wrong."""
    cc, options = BUILDS[name]
    start = time.monotonic()
    log = LOGS / f"{name}.log"
    with open(log, "w") as out:
        env = {**os.environ, "CC": cc}
        setup = ["meson", "setup", *(["--reconfigure"] if (ROOT / name / "build.ninja").exists() else []), name, *options]
        ok = subprocess.run(setup, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT).returncode == 0 and \
            subprocess.run(["ninja", "-k", "0", "-C", name], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT).returncode == 0
    text = log.read_text(errors="replace")
    print(f"built {name} in {time.monotonic() - start:.0f} s" if ok else f"not ok {name} builds", flush=True)
    return "" if ok else text[-6000:]


def programs(where):
    """The unit test programs of a build, by the names of their sources."""
    for source in sorted((ROOT / "tests").glob("*/*.c")):
        p = ROOT / where / "tests" / f"{source.parent.name}-{source.stem}"
        if p.exists() or source.parent.name in ("base", "rt", "sync"):
            yield f"{source.parent.name}-{source.stem}", p, source.read_text(errors="replace")


def steps(args):
    mode = ["--long"] if args.long else ["--quick"] if args.quick else []
    limit = 3600 if args.long else 600
    for check in sorted((ROOT / "tests/check").iterdir()):
        if check.is_file() and os.access(check, os.X_OK):
            yield Step(f"check {check.name}", [check], 300)
    yield Step("check format", [ROOT / "script/format", "--check"], 120)
    asan = {"WEIR": str(ROOT / "build-asan/weir"), "WEIR_BUILD": str(ROOT / "build-asan")}
    if not args.quick:
        asan["WEIR_RELEASE"] = str(ROOT / "build/weir")
    # The long ones first, so that no single one is left running at the end.
    for f in sorted((ROOT / "tests/blackbox").glob("test_*.py"), key=lambda f: -f.stat().st_size):
        yield Step(f"program {f.stem.removeprefix('test_')}", [sys.executable, f, *mode], limit, **asan)
        if f.stem.removeprefix("test_") in OVER_TLS and not args.quick:
            yield Step(f"program {f.stem.removeprefix('test_')} (TLS)", [sys.executable, f, *mode], limit, **asan, WEIR_TEST_TLS="1")
        for tls in OVER_H2.get(f.stem.removeprefix("test_"), ()) if not args.quick else ():
            yield Step(f"program {f.stem.removeprefix('test_')} (HTTP/2{', TLS' if tls else ''})", [sys.executable, f, *mode],
                       limit, **asan, WEIR_TEST_H2="1", WEIR_TEST_TLS=tls)
        if f.stem.removeprefix("test_") in OVER_GRPC and not args.quick and (ROOT / "build-asan/tests/interop/interop-stop").exists():
            yield Step(f"program {f.stem.removeprefix('test_')} (gRPC)", [sys.executable, f, *mode], limit, **asan, WEIR_TEST_GRPC="1")
    for f in sorted((ROOT / "fuzz").glob("*.c")):
        p = ROOT / "build-asan/fuzz" / f"fuzz-corpus-{f.stem}"
        if p.exists() or f.stem not in OPTIONAL_FUZZ:
            yield Step(f"corpus {f.stem}", [p, ROOT / "fuzz/corpus" / f.stem], 120)
    for name, p, _ in programs("build-asan"):
        yield Step(f"unit {name}", [p, *mode], limit)
        if name in OVER_TLS and not args.quick:
            yield Step(f"unit {name} (TLS)", [p, "--no-sim", *mode], limit, WEIR_TEST_TLS="1")
        for tls in OVER_H2.get(name, ()) if not args.quick else ():
            yield Step(f"unit {name} (HTTP/2{', TLS' if tls else ''})", [p, *(["--no-sim"] if tls else []), *(mode or ["--quick"])],
                       limit, WEIR_TEST_H2="1", **({"WEIR_TEST_TLS": tls} if tls else {}))
    if args.quick:
        return
    # The sanitized programs run a tenth of the many seeds; the plain ones, all of them.
    for name, p, text in programs("build"):
        many = re.findall(r"^SIM\((\w+), \d{5,}\)", text, re.M)
        if many:
            yield Step(f"unit {name} (all seeds)", [p, "--long", *many], limit)
    # Optimised code uses stacks and time otherwise.
    for name, p, _ in programs("build"):
        yield Step(f"unit {name} (release)", [p, "--quick"], limit)
    for name, p, text in programs("build-tsan"):
        if re.search(r"^T(ASK|EST)\(", text, re.M):
            yield Step(f"unit {name} (threads)", [p, "--no-sim", *(["--long"] if args.long else [])], limit)


def main():
    a = argparse.ArgumentParser(prog="script/test", description="Run the tests.")
    a.add_argument("--quick", action="store_true", help="what fits into three minutes")
    a.add_argument("--long", action="store_true", help="more seeds, longer runs")
    a.add_argument("part", nargs="*", help="only steps with this in their name")
    args = a.parse_args()
    start = time.monotonic()
    passed = failed = 0

    LOGS.mkdir(parents=True, exist_ok=True)
    for name in ["build-asan"] if args.quick else BUILDS:
        said = build(name)
        if said:
            failed += 1
            print(said)
    todo = [s for s in steps(args) if not (args.quick and s.name in SLOW) and
            (not args.part or any(p in s.name for p in args.part))]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for n, done in enumerate(concurrent.futures.as_completed([pool.submit(run, s) for s in todo]), 1):
            step, p, f, seconds, show = done.result()
            passed += p
            failed += f
            print(f"[{n}/{len(todo)}] {'ok    ' if not f else 'FAILED'} {step.name}: {p} passed, {f} failed, {seconds:.1f} s",
                  flush=True)
            if show:
                print(show, flush=True)
    print(f"took {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
