# SPDX-License-Identifier: MIT
"""Weir's tasks in gdb.

    (gdb) source gdb/weir.py
    (gdb) info weir tasks            the tasks of every worker
    (gdb) weir bt 17                 the backtrace of task 17
    (gdb) weir bt all
    (gdb) weir task 17 info locals   any command in the frame of a parked task

Where a parked task goes on is kept in its fiber (src/rt/fiber.h); the commands put that into
gdb's registers for the time of one command. So they need a live process whose thread is stopped; in a core file
`info weir tasks` works and `weir bt` shows the frames by the frame pointers.
"""

import gdb


def tasks():
    """A task lies at the top of its stack; stacks are carved from slabs (src/rt/stack.c) and never go away."""
    rt = gdb.parse_and_eval("weir__rt")
    if int(rt["workers"]) == 0:
        raise gdb.GdbError("no Weir runtime is running in this process")
    unit, colors, line, usable = (
        int(gdb.parse_and_eval("WEIR__" + n)) for n in ("STACK_UNIT", "STACK_COLORS", "CACHE_LINE", "STACK_USABLE"))
    task_type = gdb.lookup_type("struct weir__task")
    slab_type = gdb.lookup_type("struct slab").pointer()
    slabs = gdb.parse_and_eval("slabs")
    for i in range(int(gdb.parse_and_eval("slab_count"))):
        slab = slabs[i].cast(slab_type).dereference()
        for k in range(int(slab["carved"])):
            bottom = int(slabs[i]) + int(slab["first"]) + k * int(slab["stride"])
            top = bottom + usable + (colors - bottom // unit % colors) * line
            task = gdb.Value(top - task_type.sizeof).cast(task_type.pointer())
            if int(task["id"]):
                yield int(task["worker"]["index"]), task["worker"], task


def name_of(task):
    return task["name" if task["named"] else "given"].string()


def state_of(worker, task):
    if int(task["what"]) != 0:
        return "waiting on " + task["what"].string()
    return "running" if int(worker["current"]) == int(task) else "ready"


def registers_of(task):
    """Name → value of the registers that weir__fiber_switch() kept; the others lie in the frames above."""
    at = {n: int(task["fiber"][n]) for n in ("sp", "fp", "pc")}
    if gdb.selected_inferior().architecture().name().startswith("aarch64"):
        return {"pc": at["pc"], "sp": at["sp"], "x29": at["fp"]}
    return {"rip": at["pc"], "rsp": at["sp"], "rbp": at["fp"]}


def run_in(task, command):
    """Runs a gdb command as if the selected thread were the parked task."""
    regs = registers_of(task)
    gdb.execute("select-frame 0", to_string=True)
    saved = {n: int(gdb.parse_and_eval("$" + n)) for n in regs}
    try:
        for n, v in regs.items():
            gdb.execute("set $%s = %d" % (n, v), to_string=True)
        gdb.execute(command)
    finally:
        gdb.execute("select-frame 0", to_string=True)
        for n, v in saved.items():
            gdb.execute("set $%s = %d" % (n, v), to_string=True)


def find(number):
    for i, worker, task in tasks():
        if int(task["id"]) == number:
            return i, worker, task
    raise gdb.GdbError("there is no task %d; see `info weir tasks`" % number)


def in_task(number, command):
    i, worker, task = find(number)
    if int(worker["current"]) == int(task):
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            if int(gdb.parse_and_eval("weir__self_tls")) == int(worker.address):
                gdb.execute(command)
                return
        raise gdb.GdbError("task %d runs, but its worker's thread was not found" % number)
    run_in(task, command)


class InfoWeir(gdb.Command):
    """What Weir runs: info weir tasks"""

    def __init__(self):
        super().__init__("info weir", gdb.COMMAND_STATUS, prefix=True)


class InfoWeirTasks(gdb.Command):
    """The tasks of every worker: number, worker, state, name, place of its start"""

    def __init__(self):
        super().__init__("info weir tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        for i, worker, task in tasks():
            mark = "*" if int(worker["current"]) == int(task) else " "
            print("%s #%-6d worker %d  %-28s %s (%s)" % (
                mark, int(task["id"]), i, state_of(worker, task), name_of(task), task["place"].string()))


class Weir(gdb.Command):
    """Commands on one task: weir bt NUMBER|all, weir task NUMBER COMMAND"""

    def __init__(self):
        super().__init__("weir", gdb.COMMAND_STACK, prefix=True)


class WeirBt(gdb.Command):
    """The backtrace of a task, or of all: weir bt NUMBER|all"""

    def __init__(self):
        super().__init__("weir bt", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if words == ["all"]:
            for number in [int(task["id"]) for _, _, task in tasks()]:
                print("task #%d" % number)
                in_task(number, "backtrace")
        elif len(words) == 1 and words[0].isdigit():
            in_task(int(words[0]), "backtrace")
        else:
            raise gdb.GdbError("weir bt NUMBER|all")


class WeirTask(gdb.Command):
    """Any command in a task's innermost frame: weir task NUMBER COMMAND"""

    def __init__(self):
        super().__init__("weir task", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        number, _, command = argument.partition(" ")
        if not number.isdigit() or not command:
            raise gdb.GdbError("weir task NUMBER COMMAND")
        in_task(int(number), command)


InfoWeir()
InfoWeirTasks()
Weir()
WeirBt()
WeirTask()
