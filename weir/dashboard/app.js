// SPDX-License-Identifier: MIT
/*
 * The dashboard: asks the HTTP API for counts once a second, and hears of every job over one event stream.
 *
 * The counts (tiles, queues, numbers of the lanes) are always the server's own; events only say which jobs to show and ask for
 * fresh counts soon. So a missed event never leaves a wrong number, and jobs shown in a lane that the counts contradict are
 * fetched anew. Everything is bounded: jobs remembered, rows, samples, log lines. All text from the server goes into the page as text,
 * never as markup; the page runs under a policy that allows no inline script or style.
 */
"use strict";

const JOBS_KEPT = 400;
const LANE_MAX = 6;
const LOG_MAX = 14;
const FLOOD = 60; /* events a second from which on the page is drawn four times a second, without movement */
const EVENTS_MAX = 100; /* events looked at in a quarter of a second */
const ROWS_MAX = 200;
const SAMPLES = 60;
const FINISHED = { done: true, dead: true, cancelled: true };
const LANE_OF = { queued: "queued", delayed: "queued", running: "running", done: "done", dead: "dead", cancelled: "dead" };

const $ = (id) => document.getElementById(id);

/* ---- Small helpers ---- */

function make(tag, props, ...kids)
{
	const e = document.createElement(tag);

	for (const [k, v] of Object.entries(props || {})) {
		if (k === "state")
			e.dataset.state = v;
		else if (k === "label")
			e.dataset.label = v;
		else if (k in e)
			e[k] = v;
		else
			e.setAttribute(k, v);
	}
	e.append(...kids.filter((kid) => kid !== null && kid !== undefined));
	return e;
}

/* Touch the page only where it changes: assistive technology and the layout both notice a rewrite. */
function text(e, s)
{
	s = String(s);
	if (e.textContent !== s)
		e.textContent = s;
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en");
const many = (n, word) => number(n) + " " + word + (n === 1 ? "" : "s");
const number = (n) => (n < 100000 ? whole.format(n) : compact.format(n));
const rate = (n) => (n < 10 ? n.toFixed(1) : number(Math.round(n)));

function bytes(n)
{
	const units = ["B", "KiB", "MiB", "GiB", "TiB"];
	let i = 0;

	for (; n >= 1024 && i < units.length - 1; i++)
		n /= 1024;
	return (i && n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

function span(ms)
{
	const s = ms / 1000;

	if (ms < 1000)
		return (ms > 0 && ms < 10 ? ms.toFixed(1) : Math.max(0, Math.round(ms))) + " ms";
	if (s < 10)
		return s.toFixed(1) + " s";
	if (s < 120)
		return Math.round(s) + " s";
	if (s < 7200)
		return Math.round(s / 60) + " min";
	if (s < 172800)
		return Math.round(s / 3600) + " h";
	return Math.round(s / 86400) + " d";
}

/* A time of the API: RFC 3339; null when it has not come. */
function when(t)
{
	const d = t ? new Date(t) : null;

	return d && !isNaN(d) ? d : null;
}

const two = (n) => String(n).padStart(2, "0");
const clock = (d) => two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds());
const tail = (id) => "…" + String(id).slice(-6).toLowerCase();

let toastTimer;
function say(s, wrong)
{
	text($("say"), s);
	if (!wrong)
		return;
	text($("toast"), s);
	$("toast").hidden = false;
	clearTimeout(toastTimer);
	toastTimer = setTimeout(() => { $("toast").hidden = true; }, 6000);
}

/* ---- Asking the server ---- */

class Refused extends Error {
	constructor(status, detail)
	{
		super(detail);
		this.status = status;
	}
}

async function ask(path, options)
{
	const res = await fetch(path, { cache: "no-store", ...options, headers: { Accept: "application/json", ...(options || {}).headers } });
	const body = await res.text();
	let json = null;

	try {
		json = body ? JSON.parse(body) : null;
	} catch {
		json = null;
	}
	if (res.status === 401) {
		/* The page itself then answers with the form to log in. */
		if (!sessionStorage.getItem("asked") || Date.now() - sessionStorage.getItem("asked") > 5000) {
			sessionStorage.setItem("asked", Date.now());
			location.reload();
		}
		throw new Refused(401, "Please log in.");
	}
	if (!res.ok) {
		const after = res.headers.get("Retry-After");
		throw new Refused(res.status, ((json && (json.detail || json.title)) || "The server answered " + res.status) +
			(after ? " (try again in " + after + " s)" : ""));
	}
	return json || {};
}

const part = encodeURIComponent;
const queuePath = (q) => "/v1/queues/" + part(q);
const jobPath = (id) => "/v1/jobs/" + part(id);

async function act(what, path, options)
{
	try {
		const answer = await ask(path, { method: "POST", ...options });

		say(typeof what === "function" ? what(answer) : what, answer.left); /* Some stayed: it is to be seen. */
		poll();
		return true;
	} catch (e) {
		say(e instanceof Refused ? e.message : "The server does not answer.", true);
		return false;
	}
}

/* ---- Jobs in their lanes ---- */

const jobs = new Map(); /* id → job, the one that changed last at the end */
const chips = new Map(); /* id → its element, while it is shown */
let held = false, lanesDirty = false;

/* How many events came in the last second: four counts of a quarter each. */
const quarters = [0, 0, 0, 0];
const eventRate = () => quarters.reduce((a, b) => a + b);
let skipped = false;
setInterval(() => {
	quarters.unshift(0);
	quarters.pop();
	if (skipped && eventRate() < FLOOD) {
		skipped = false;
		seededAt = 0;
		seed();
	}
}, 250);

function remember(job)
{
	const old = jobs.get(job.id);

	jobs.delete(job.id);
	jobs.set(job.id, { ...old, ...job });
	if (jobs.size > JOBS_KEPT)
		jobs.delete(jobs.keys().next().value);
}

function chipFor(job)
{
	let c = chips.get(job.id);
	const fresh = !c;

	if (fresh) {
		c = make("li", {}, make("button", { className: "chip", type: "button" },
			make("span", { className: "chip-line" }, make("b"), make("span", { className: "id" })), make("small"),
			make("span", { className: "bar", hidden: true }, make("i"))));
		c.firstChild.onclick = () => showJob(job.id);
		chips.set(job.id, c);
	}
	const b = c.firstChild, [line, note, bar] = b.children;
	const progress = job.state === "running" && job.progress >= 0 ? job.progress : null;

	b.dataset.state = job.state;
	text(line.firstChild, job.queue);
	text(line.lastChild, tail(job.id));
	text(note, describe(job));
	bar.hidden = progress === null;
	bar.firstChild.style.width = (progress || 0) * 100 + "%";
	b.setAttribute("aria-label", job.queue + " job " + job.id + ", " + job.state);
	return c;
}

function describe(job)
{
	const again = job.attempts > 1 ? "attempt " + job.attempts : "";

	if (job.state === "running")
		return job.note || job.worker || again || "running";
	if (job.state === "delayed")
		return (job.error ? "failed, waits to run again" : "delayed") + (again ? " · " + again : "");
	if (job.state === "dead")
		return job.error || "dead after " + job.attempts + " attempts";
	if (job.state === "done") {
		const from = when(job.started_at), to = when(job.finished_at);
		return from && to ? "took " + span(to - from) : again || "done";
	}
	return again || job.state;
}

function drawLanes()
{
	lanesDirty = false;
	if (held)
		return;
	drawLog();
	const lanes = { queued: [], running: [], done: [], dead: [] }, known = { queued: 0, running: 0, done: 0, dead: 0 };
	const calm = eventRate() < FLOOD && !matchMedia("(prefers-reduced-motion: reduce)").matches;
	const before = new Map();

	for (const job of [...jobs.values()].reverse()) {
		const lane = LANE_OF[job.state];
		if (!lane)
			continue;
		known[lane]++;
		if (lanes[lane].length < LANE_MAX)
			lanes[lane].push(job);
	}
	if (calm)
		for (const [id, c] of chips)
			before.set(id, c.getBoundingClientRect());
	const shown = new Set();
	for (const section of $("lanes").children) {
		const list = section.querySelector("ol"), want = lanes[section.dataset.state].map(chipFor);
		for (const job of lanes[section.dataset.state])
			shown.add(job.id);
		/* Put in order without touching what already stands right, so that focus stays where it is. */
		want.forEach((c, i) => {
			if (list.children[i] !== c)
				list.insertBefore(c, list.children[i] || null);
		});
		while (list.children.length > want.length)
			list.lastChild.remove();
		section.known = known[section.dataset.state];
	}
	for (const [id, c] of chips) {
		if (!shown.has(id)) {
			c.remove();
			chips.delete(id);
		}
	}
	drawLaneCounts();
	if (!calm)
		return;
	for (const [id, c] of chips) {
		const from = before.get(id), to = c.getBoundingClientRect();
		if (!from)
			c.animate([{ opacity: 0, transform: "translateY(-6px)" }, { opacity: 1, transform: "none" }], 220);
		else if (from.left !== to.left || from.top !== to.top)
			c.animate([{ transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` }, { transform: "none" }],
				{ duration: 320, easing: "cubic-bezier(.2,.8,.2,1)" });
	}
}

let totals = { queued: 0, delayed: 0, running: 0, done: 0, dead: 0, cancelled: 0 };

function drawLaneCounts()
{
	const count = { queued: totals.queued + totals.delayed, running: totals.running, done: totals.done, dead: totals.dead + totals.cancelled };

	for (const section of $("lanes").children) {
		const n = count[section.dataset.state], shown = section.querySelector("ol").children.length;
		text(section.querySelector("h3 b"), number(n));
		text(section.querySelector(".more"), n > shown ? (shown ? "and " + number(n - shown) + " more" : number(n) + " not shown") : "");
	}
}

function lanesSoon()
{
	if (lanesDirty)
		return;
	lanesDirty = true;
	/* In a flood the eye gains nothing from more than a few pictures a second. */
	if (eventRate() > FLOOD)
		setTimeout(drawLanes, 250);
	else
		requestAnimationFrame(drawLanes);
}

/* Fill the lanes from what the queues hold: at the start, and when events were missed. */
let seeding = null, seededAt = 0; /* while seeding: the ids that events told of meanwhile, which is newer */
async function seed()
{
	if (seeding || Date.now() - seededAt < 4000)
		return;
	seeding = new Map();
	try {
		const busy = [...queues.values()].map((q) => q.info)
			.sort((a, b) => b.running - a.running || b.queued - a.queued).slice(0, 8);
		const found = [];
		for (const info of busy) {
			for (const state of ["dead", "cancelled", "done", "delayed", "queued", "running"]) {
				/* Lists begin with the oldest: of many finished jobs those are not news. */
				if (!info[state] || (FINISHED[state] && info[state] > 50))
					continue;
				const got = await ask(queuePath(info.name) + "/jobs?limit=50&state=" + state);
				found.push(...(got.jobs || []).slice(-LANE_MAX * 2));
			}
		}
		const order = (j) => +(when(j.finished_at) || when(j.started_at) || when(j.created_at) || 0);
		jobs.clear();
		found.filter((j) => !seeding.has(j.id)).sort((a, b) => order(a) - order(b)).forEach(remember);
		seeding.forEach(remember);
		lanesSoon();
	} catch {
		/* The next poll says what is wrong. */
	} finally {
		seeding = null;
		seededAt = Date.now();
	}
}

/* ---- The event stream ---- */

let source, retry = 0, missed = false, retryTimer;

function link(state, words)
{
	$("link").dataset.state = state;
	text($("link").lastChild, words);
}

function onEvent(e)
{
	let m;

	/* The counts do not depend on it, and the lanes are filled anew when it is over. */
	if (++quarters[0] > EVENTS_MAX) {
		skipped = true;
		pollSoon();
		return;
	}
	try {
		m = JSON.parse(e.data);
	} catch {
		return;
	}
	if (!m || !m.job || !m.job.id)
		return;
	remember(m.job);
	if (seeding)
		seeding.set(m.job.id, m.job);
	logEvent(m.event || m.job.state, m.job);
	lanesSoon();
	pollSoon();
	if (shownJob === m.job.id)
		showJobSoon();
}

function listen()
{
	clearTimeout(retryTimer);
	if (source)
		source.close();
	source = new EventSource("/v1/subjects/weir.jobs.%3E/events");
	source.onopen = () => {
		retry = 0;
		link("live", "live");
		if (missed) {
			say("Connected again.");
			seededAt = 0;
			poll().then(seed);
		}
		missed = false;
	};
	source.onmessage = onEvent;
	source.addEventListener("gap", () => { seededAt = 0; seed(); });
	source.onerror = () => {
		const wait = Math.min(15, 2 ** retry++);

		if (!missed)
			say("The connection is lost; trying again.");
		missed = true;
		source.close();
		link("lost", "offline, again in " + wait + " s");
		retryTimer = setTimeout(() => {
			link("connecting", "connecting");
			listen();
		}, wait * 1000);
	};
}

const happened = []; /* since the page was last drawn */

function logEvent(event, job)
{
	if (event === "progress")
		return;
	happened.push([event, job, new Date()]);
	if (happened.length > LOG_MAX)
		happened.shift();
}

function drawLog()
{
	const list = $("log");

	for (const [event, job, at] of happened.splice(0))
		list.prepend(logLine(event, job, at));
	while (list.children.length > LOG_MAX)
		list.lastChild.remove();
	$("log-empty").hidden = list.children.length > 0;
}

function logLine(event, job, at)
{
	const b = make("button", { type: "button", state: event }, make("i"), make("b", {}, event), make("span", {}, job.queue + " " + tail(job.id)),
		make("time", {}, clock(at)));
	b.onclick = () => showJob(job.id);
	return make("li", {}, b);
}

/* ---- Counts and queues ---- */

const queues = new Map(); /* name → { info, samples, row } */
let pollTimer, polling = false, pollAgain = false, started = false;

function pollSoon()
{
	if (!pollAgain) {
		pollAgain = true;
		setTimeout(poll, eventRate() > FLOOD ? 700 : 250);
	}
}

async function poll()
{
	clearTimeout(pollTimer);
	pollAgain = false;
	if (!polling && !document.hidden) {
		polling = true;
		try {
			const [q, s] = await Promise.all([ask("/v1/queues"), ask("/v1/status")]);
			takeQueues(q.queues || []);
			takeStatus(s);
			if (!started) {
				started = true;
				seed();
			}
			if (shownQueue)
				listJobs();
			if ($("tasks").open)
				listTasks();
		} catch (e) {
			if (e instanceof Refused)
				say(e.message, true);
		}
		polling = false;
	}
	clearTimeout(pollTimer);
	pollTimer = setTimeout(poll, 1000);
}

function takeQueues(list)
{
	const seen = new Set();
	let inRate = 0, outRate = 0, behind = false;

	totals = { queued: 0, delayed: 0, running: 0, done: 0, dead: 0, cancelled: 0 };
	for (const info of list) {
		let q = queues.get(info.name);
		if (!q)
			queues.set(info.name, q = { samples: [], at: 0 });
		q.info = info;
		/* Polls come sooner after events; the picture is of the last minute all the same. */
		if (performance.now() - q.at > 900) {
			q.at = performance.now();
			q.samples.push([info.put_rate || 0, info.done_rate || 0]);
			q.samples.splice(0, q.samples.length - SAMPLES);
		}
		seen.add(info.name);
		for (const k in totals)
			totals[k] += info[k] || 0;
		inRate += info.put_rate || 0;
		outRate += info.done_rate || 0;
	}
	for (const [name, q] of queues) {
		if (!seen.has(name)) {
			if (q.row)
				q.row.remove();
			queues.delete(name);
		}
	}
	text($("n-waiting"), number(totals.queued + totals.delayed));
	text($("n-waiting-note"), totals.delayed ? number(totals.delayed) + " of them delayed" : "none delayed");
	text($("n-running"), number(totals.running));
	text($("n-running-note"), totals.running ? "held by workers" : "no worker busy");
	text($("n-done"), number(totals.done));
	text($("n-done-note"), rate(outRate) + " a second");
	text($("n-dead"), number(totals.dead));
	text($("n-dead-note"), totals.dead ? "redrive brings them back" : "nothing to redrive");
	$("n-dead").parentNode.classList.toggle("warm", totals.dead > 0);
	text($("flow-rate"), eventRate() ? many(eventRate(), "event") + " in the last second" : "");
	text($("queues-note"), list.length ? rate(inRate) + " in, " + rate(outRate) + " done a second" : "");
	drawQueues();
	drawLaneCounts();
	/* More jobs in a lane than the server has: an end was missed. */
	for (const section of $("lanes").children) {
		const k = section.dataset.state;
		behind = behind || (k === "running" && section.known > totals.running) || (k === "queued" && section.known > totals.queued + totals.delayed);
	}
	if (behind)
		seed();
}

/* An SVG path over the last samples, right-aligned; closed below for the area. */
function path(samples, which, top, closed)
{
	const at = (s, i) => `${((SAMPLES - samples.length + i) / (SAMPLES - 1) * 132).toFixed(1)} ${(29 - s[which] / top * 27).toFixed(1)}`;
	const line = samples.map(at).join("L");

	if (samples.length < 2)
		return "";
	return "M" + line + (closed ? `L132 30L${((SAMPLES - samples.length) / (SAMPLES - 1) * 132).toFixed(1)} 30Z` : "");
}

function queueRow(name)
{
	const svg = (tag, attributes, ...kids) => {
		const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
		for (const [k, v] of Object.entries(attributes))
			e.setAttribute(k, v);
		e.append(...kids);
		return e;
	};
	const open = make("button", { className: "link", type: "button" }, name);
	const paused = make("span", { className: "state paused", hidden: true }, "paused");
	const depth = make("span"), bar = make("span", { className: "bar" }, make("i", { className: "q" }), make("i", { className: "d" }));
	const paths = ["area in", "in", "out"].map((c) => svg("path", { class: c }));
	const rates = make("span", { className: "rates" }, make("span", { className: "in" }), make("br"), make("span", { className: "out" }));
	const cell = (label) => make("td", { className: "num", label });
	const waited = make("span"), ran = make("span"), oldest = make("small", { className: "muted" });
	const running = cell("running"), done = cell("done"), dead = cell("dead");
	const pause = make("button", { className: "small", type: "button" }), redrive = make("button", { className: "small", type: "button", hidden: true }, "Redrive");
	const row = make("tr", {}, make("td", {}, open, paused), make("td", { className: "depth full" }, depth, bar),
		make("td", { className: "full" }, make("span", { className: "spark" }, svg("svg", { viewBox: "0 0 132 30", preserveAspectRatio: "none", role: "img", "aria-label": "rates of the last minute" }, ...paths), rates)),
		make("td", { className: "took full" }, make("span", {}, "waited ", waited), make("span", {}, "ran ", ran), oldest),
		running, done, dead, make("td", { className: "act full" }, redrive, pause));

	open.onclick = () => showQueue(name);
	pause.onclick = () => {
		const on = !queues.get(name).info.paused;
		act("Queue " + name + (on ? " paused." : " resumed."), queuePath(name) + (on ? "/pause" : "/resume"));
	};
	redrive.onclick = () => act((a) => a.left ? "Of the dead of " + name + " " + a.redriven + " came back, " + a.left + " stayed: " + a.why :
		"Dead jobs of " + name + " are queued again.", queuePath(name) + "/redrive").then((ok) => { if (ok) { seededAt = 0; setTimeout(seed, 300); } });
	return Object.assign(row, { parts: { paused, depth, bar, paths, rates, waited, ran, oldest, running, done, dead, pause, redrive } });
}

function drawQueues()
{
	const find = $("find").value.toLowerCase();
	const names = [...queues.keys()].filter((n) => n.toLowerCase().includes(find)).sort();
	const body = $("queue-rows");

	$("queue-empty").hidden = queues.size > 0;
	$("queue-table").hidden = queues.size === 0;
	names.length = Math.min(names.length, ROWS_MAX);
	names.forEach((name, i) => {
		const q = queues.get(name), info = q.info;
		const row = q.row = q.row || queueRow(name), p = row.parts;
		const waiting = info.queued + info.delayed, max = (info.settings || {}).max || 100000, top = Math.max(1, ...q.samples.flat());

		p.paused.hidden = !info.paused;
		text(p.depth, waiting ? number(waiting) + (info.delayed ? " (" + number(info.delayed) + " delayed)" : "") : "empty");
		p.depth.className = waiting ? "" : "zero";
		const share = (n) => (n ? Math.max(2, Math.min(100, n / max * 100)) : 0) + "%";
		p.bar.firstChild.style.width = share(info.queued);
		p.bar.lastChild.style.width = share(info.delayed);
		p.bar.title = number(waiting + info.running) + " of at most " + number(max);
		p.paths[0].setAttribute("d", path(q.samples, 0, top, true));
		p.paths[1].setAttribute("d", path(q.samples, 0, top));
		p.paths[2].setAttribute("d", path(q.samples, 1, top));
		text(p.rates.firstChild, rate(info.put_rate || 0) + " in");
		text(p.rates.lastChild, rate(info.done_rate || 0) + " done");
		for (const [e, l, what] of [[p.waited, info.wait_ms, "waited"], [p.ran, info.run_ms, "ran"]]) {
			text(e, l ? span(l.p50) + " · " + span(l.p95) : "–");
			e.parentNode.title = l ? many(l.n, "run") + " of the last minutes: half " + what + " at most " + span(l.p50) + ", 95 % " + span(l.p95) +
				", 99 % " + span(l.p99) : "nothing in the last minutes";
		}
		text(p.oldest, info.queued ? "oldest " + span(info.oldest_ms) : "");
		for (const k of ["running", "done", "dead"]) {
			text(p[k], number(info[k]));
			p[k].className = "num" + (info[k] ? (k === "dead" ? " bad" : "") : " zero");
		}
		text(p.pause, info.paused ? "Resume" : "Pause");
		p.pause.setAttribute("aria-label", p.pause.textContent + " " + name);
		p.redrive.hidden = !info.dead;
		p.redrive.setAttribute("aria-label", "Redrive the dead jobs of " + name);
		if (body.children[i] !== row)
			body.insertBefore(row, body.children[i] || null);
	});
	while (body.children.length > names.length)
		body.lastChild.remove();
	const list = $("queue-names");
	if (list.dataset.names !== names.join()) {
		list.dataset.names = names.join();
		list.replaceChildren(...names.map((n) => make("option", { value: n })));
	}
}

function takeStatus(s)
{
	text($("about"), [s.version && "version " + s.version, "up " + span((s.uptime_s || 0) * 1000)].filter(Boolean).join(" · "));
	text($("n-clients"), number(s.connections || 0));
	text($("n-clients-note"), many(s.streams || 0, "stream") + ", " + many(s.subscriptions || 0, "subscription") +
		(s.bus && s.bus.dropped ? ", " + s.bus.dropped + " messages dropped" : "") +
		(s.bus && s.bus.connected === false ? ", no connection to the cluster" : ""));
	text($("n-memory"), bytes(s.memory_bytes || 0));
	text($("n-memory-note"), many(s.tasks || 0, "task") + " on " + many(s.workers || 1, "worker"));
	$("logout").hidden = !s.auth;
	if (s.ready === false && $("link").dataset.state === "live")
		link("stopping", "stopping");
}

/* ---- One queue's jobs ---- */

let shownQueue = null;

function showQueue(name)
{
	shownQueue = name;
	$("jobs").hidden = false;
	text($("jobs-queue"), name);
	$("job-rows").replaceChildren();
	listJobs().then(() => $("jobs").scrollIntoView({ block: "nearest", behavior: "smooth" }));
}

async function listJobs()
{
	const name = shownQueue, state = $("jobs-state").value;
	let list = [];

	try {
		list = (await ask(queuePath(name) + "/jobs?limit=100" + (state ? "&state=" + state : ""))).jobs || [];
	} catch (e) {
		if (!(e instanceof Refused) || e.status !== 404)
			return;
	}
	if (name !== shownQueue)
		return;
	const body = $("job-rows"), old = new Map([...body.children].map((row) => [row.dataset.id, row]));
	const rows = list.map((job) => {
		const row = old.get(job.id) || jobRow(job.id), [, s, attempt, since, note] = row.children;
		const at = when(job.finished_at) || (job.state === "running" && when(job.started_at)) || when(job.created_at);

		s.firstChild.dataset.state = job.state;
		text(s.firstChild, job.state);
		text(attempt, job.attempts || 0);
		text(since, at ? span(Date.now() - at) : "");
		text(note, job.error || job.note || (job.content_type || "") + (job.size !== undefined ? " " + bytes(job.size) : ""));
		return row;
	});
	if (rows.length !== body.children.length || rows.some((row, i) => row !== body.children[i]))
		body.replaceChildren(...rows);
	$("job-empty").hidden = rows.length > 0;
}

function jobRow(id)
{
	const b = make("button", { className: "link id", type: "button" }, id);
	const row = make("tr", {}, make("td", {}, b), make("td", {}, make("span", { className: "state" })), make("td", { className: "num", label: "attempt" }),
		make("td", { label: "since" }), make("td", { className: "cut full" }));

	b.onclick = () => showJob(id);
	row.dataset.id = id;
	return row;
}

/* ---- One job ---- */

let shownJob = null, jobTimer;

function showJobSoon()
{
	clearTimeout(jobTimer);
	jobTimer = setTimeout(() => shownJob && drawJob(shownJob), 120);
}

function showJob(id)
{
	shownJob = id;
	drawJob(id);
}

/* Payloads come as text or, when they are not, in base64. */
function content(job, key)
{
	const b64 = job[key + "_base64"];

	if (b64) {
		const raw = atob(b64), lines = [];
		for (let i = 0; i < Math.min(raw.length, 512); i += 16) {
			const row = [...raw.slice(i, i + 16)];
			lines.push(i.toString(16).padStart(6, "0") + "  " + row.map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join(" ").padEnd(48) +
				" " + row.map((c) => (c >= " " && c <= "~" ? c : ".")).join(""));
		}
		return [lines.join("\n"), bytes(raw.length) + (raw.length > 512 ? ", the first 512 shown" : "")];
	}
	const value = job[key];
	if (value === undefined || value === null)
		return [null, ""];
	const s = typeof value === "string" ? value : JSON.stringify(value, null, 2);
	try {
		const parsed = JSON.parse(s);
		return [typeof parsed === "object" ? JSON.stringify(parsed, null, 2) : s, bytes(new Blob([s]).size)];
	} catch {
		return [s, bytes(new Blob([s]).size)];
	}
}

function fact(name, value, whole)
{
	return value === null || value === undefined || value === "" ? null :
		make("div", { className: whole ? "whole" : "" }, make("dt", {}, name), make("dd", {}, value));
}

async function drawJob(id)
{
	let job;

	try {
		job = await ask(jobPath(id) + "?payload=true");
	} catch (e) {
		shownJob = null;
		say(e.status === 404 ? "This job is no longer kept." : e.message, true);
		$("job").close();
		return;
	}
	if (id !== shownJob)
		return;
	const created = when(job.created_at), begun = when(job.started_at), ended = when(job.finished_at);

	text($("job-title"), "Job of " + job.queue);
	text($("job-id"), job.id);
	text($("job-state"), job.state + (job.cancel && job.state === "running" ? ", asked to stop" : ""));
	$("job-state").dataset.state = job.state;
	$("job-bar").hidden = !(job.state === "running" && job.progress >= 0);
	$("job-bar").firstChild.style.width = (job.progress || 0) * 100 + "%";
	$("job-facts").replaceChildren(...[
		fact("Attempt", (job.attempts || 0) + (job.max_attempts ? " of " + job.max_attempts : "")),
		fact("Created", created && created.toLocaleString()),
		fact("Waited", begun && created && span(begun - created)),
		fact("Ran for", begun && (ended || job.state === "running") ? span((ended || Date.now()) - begun) : null),
		fact("Priority", job.priority || null),
		fact("Worker", job.state === "running" ? job.worker : null),
		fact("Type", job.content_type),
		fact("Note", job.note, true),
		fact("Error", job.error, true),
	].filter(Boolean));
	let last = null;
	/* Of a run's reports of progress the last one says it all. */
	const history = (job.history || []).filter((h, i, all) => h.event !== "progress" || (all[i + 1] || {}).event !== "progress");
	$("job-history").replaceChildren(...history.map((h) => {
		const at = when(h.at), after = at && last ? "+" + span(at - last) : "";
		last = at;
		return make("li", { state: h.event }, make("b", {}, h.event), make("span", {}, h.note || (h.attempt ? "attempt " + h.attempt : "")),
			make("time", { title: after }, at ? clock(at) + (after ? " " + after : "") : ""));
	}));
	for (const key of ["payload", "result"]) {
		const [s, note] = content(job, key);
		$("job-" + key + "-box").hidden = s === null || (key === "result" && s === "");
		text($("job-" + key), s === "" ? "(empty)" : s || "");
		text($("job-" + key + "-note"), note);
	}
	$("job-retry").hidden = !FINISHED[job.state];
	$("job-cancel").hidden = Boolean(FINISHED[job.state]);
	$("job-cancel").disabled = Boolean(job.cancel);
	if (!$("job").open)
		$("job").showModal();
}

/* ---- Tasks ---- */

async function listTasks()
{
	let list;

	try {
		list = (await ask("/debug/tasks")).tasks || [];
	} catch {
		return;
	}
	const alike = new Map();
	for (const t of list) {
		const key = [t.name, t.place, t.state, t.waits_on].join("\n"), g = alike.get(key);
		if (g)
			g.n++;
		else
			alike.set(key, { ...t, n: 1 });
	}
	const rows = [...alike.values()].sort((a, b) => b.since_ms - a.since_ms).slice(0, ROWS_MAX).map((t) => make("tr", {},
		make("td", {}, make("span", { className: "id" }, t.name || "?"), t.n > 1 ? make("span", { className: "muted" }, " × " + t.n) : null),
		make("td", {}, t.state || ""), make("td", { className: "full" }, t.waits_on || ""),
		make("td", { label: "for" }, t.since_ms >= 0 ? span(t.since_ms) : ""), make("td", { label: "limit in" }, t.left_ms >= 0 && t.left_ms !== null ? span(t.left_ms) : "none"),
		make("td", { className: "id full cut" }, t.place || "")));
	$("task-rows").replaceChildren(...rows);
	text($("tasks-note"), many(list.length, "task") + (rows.length < list.length ? ", those alike in one row" : ""));
}

/* ---- The form, and the start ---- */

$("put").onsubmit = async (e) => {
	const f = e.target.elements, answer = $("put-answer"), headers = { "Content-Type": "text/plain; charset=utf-8" };

	e.preventDefault();
	if (f.delay.value)
		headers["Weir-Delay"] = f.delay.value;
	if (f.priority.value)
		headers["Weir-Priority"] = f.priority.value;
	try {
		const job = await ask(queuePath(f.queue.value) + "/jobs", { method: "POST", headers, body: f.payload.value });
		answer.className = "answer";
		answer.replaceChildren("Queued as ", make("button", { type: "button", className: "link id", onclick: () => showJob(job.id) }, job.id));
		pollSoon();
	} catch (err) {
		answer.className = "answer wrong";
		text(answer, err instanceof Refused ? err.message : "The server does not answer.");
	}
};
$("find").oninput = drawQueues;
$("freeze").onclick = (e) => {
	held = !held;
	e.target.setAttribute("aria-pressed", held);
	lanesSoon();
};
$("jobs-state").onchange = listJobs;
$("jobs-close").onclick = () => {
	shownQueue = null;
	$("jobs").hidden = true;
};
$("tasks").ontoggle = () => $("tasks").open && listTasks();
$("job-close").onclick = () => $("job").close();
$("job").onclose = () => { shownJob = null; };
/* A click beside the drawer closes it. */
$("job").onclick = (e) => { if (e.target === $("job") && e.clientX < $("job").getBoundingClientRect().left) $("job").close(); };
$("job-retry").onclick = () => shownJob && act("The job runs again.", jobPath(shownJob) + "/retry").then(showJobSoon);
$("job-cancel").onclick = () => shownJob && act("The job is being cancelled.", jobPath(shownJob), { method: "DELETE" }).then(showJobSoon);
document.onvisibilitychange = () => { if (!document.hidden) poll(); };

text($("host"), location.host);
text($("queue-hint"), "curl -i --data hello " + location.origin + "/v1/queues/mail/jobs");
poll();
listen();
