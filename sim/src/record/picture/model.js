'use strict';
// From the lines of an events file to what the lanes draw. It knows no canvas and no page.

const SECOND = 1e9;
const seconds = (t) => (t / SECOND).toFixed(3);

// Kinds that a reader looks for only when the rest has said where.
const INSIDE = new Set(['in', 'out', 'confirm', 'send', 'recv', 'drop', 'disk', 'due', 'bin', 'fault', 'agreed']);

function readModel(text) {
  const lines = text.split('\n');
  const header = JSON.parse(lines[0]);
  const events = [];
  for (let i = 1; i < lines.length; i++) if (lines[i]) events.push(JSON.parse(lines[i]));
  const model = {
    header, events, end: Math.max(header.duration, events.length ? events[events.length - 1].t : 0),
    byN: new Map(), members: new Map(), leases: new Map(), world: { bars: [], notes: [] },
    messages: [], violations: [], bins: [],
  };
  for (const m of header.members) {
    model.members.set(m.id, {
      id: m.id, offset: m.offset, ppm: m.ppm, roles: [], bars: [], marks: [], commits: [], skew: [[0, 0]], events: [],
    });
  }
  events.forEach((e, i) => { e.i = i; model.byN.set(e.n, e); });
  for (const e of events) take(model, e);
  finish(model);
  return model;
}

const lease = (model, id) => {
  const key = String(id);
  if (!model.leases.has(key)) {
    model.leases.set(key, { id: key, ttl: null, due: new Map(), told: [], calls: [], expired: [], events: [] });
  }
  return model.leases.get(key);
};

// Puts an event where it is drawn.
function take(model, e) {
  const member = e.m && model.members.get(e.m);
  if (member) member.events.push(e);
  for (const id of leasesOf(e)) lease(model, id).events.push(e);
  const open = model.open ??= { calls: new Map(), messages: new Map(), faults: new Map(), role: new Map(), commit: new Map(), term: new Map() };
  switch (e.k) {
    case 'ask': {
      const call = { from: e.t, to: null, op: e.op, outcome: null, member: e.m ?? e.to, ask: e, told: null };
      open.calls.set(e.call, call);
      if (e.lease != null) lease(model, e.lease).calls.push(call);
      break;
    }
    case 'told': case 'gave-up': {
      const call = open.calls.get(e.call);
      open.calls.delete(e.call);
      if (call) {
        call.to = e.t; call.told = e;
        call.outcome = e.k === 'gave-up' ? 'gave up' : e.ok ? 'ok' : e.why === 'unknown' ? 'unknown' : 'refused';
        if (call.ask.lease == null && e.lease != null) lease(model, e.lease).calls.push(call);
      }
      if (e.until != null) { const l = lease(model, e.lease); l.told.push([e.t, +e.until]); l.ttl ??= e.ttl * 1e6; }
      break;
    }
    case 'lost': { const call = open.calls.get(e.call); if (call) call.lost = e; break; }
    case 'due': {
      const l = lease(model, e.lease);
      if (e.ttl) l.ttl ??= e.ttl * 1e6;
      if (!l.due.has(e.m)) l.due.set(e.m, []);
      const there = e.why !== 'end' && e.why !== 'down';
      l.due.get(e.m).push({ t: e.t, at: e.at == null ? null : +e.at, there, e });
      break;
    }
    case 'expire': for (const id of e.leases) lease(model, id).expired.push(e); member?.marks.push(e); break;
    case 'send': open.messages.set(e.id, e); break;
    case 'recv': case 'drop': {
      const sent = open.messages.get(e.id);
      if (sent) model.messages.push({ sent, end: e, lost: e.k === 'drop' });
      break;
    }
    case 'role': turn(model, open, e); break;
    case 'log': model.world.notes.push(e); break;
    case 'commit': open.commit.set(e.m, e); break;
    case 'in': if (e.kind === 'persisted' && open.commit.has(e.m)) {
      member.commits.push({ from: open.commit.get(e.m).t, to: e.t, e: open.commit.get(e.m) });
      open.commit.delete(e.m);
    } break;
    case 'fault': {
      if (!e.lasts) break;
      const bar = { from: e.t, to: null, what: e.what, members: e.members, e, over: null };
      open.faults.set(e.id, bar);
      const of = ['partition', 'block', 'delay', 'noise'].includes(e.what) ? [] : e.members;
      for (const id of of) model.members.get(id)?.bars.push(bar);
      if (!of.length) model.world.bars.push(bar);
      break;
    }
    case 'over': {
      const bar = open.faults.get(e.id);
      if (bar) { bar.to = e.t; bar.over = e; open.faults.delete(e.id); }
      break;
    }
    case 'effect': (member?.marks ?? model.world.notes).push(e); break;
    case 'process':
      member?.marks.push(e);
      if (['down', 'power-lost', 'stopped', 'failed'].includes(e.what)) band(model, open, e.m, e.t, 'down');
      else if (e.what === 'opened') band(model, open, e.m, e.t, 'follower');
      break;
    case 'clock': {
      const c = member;
      const shown = +e.shown - c.offset - e.t;
      const last = c.skew[c.skew.length - 1];
      c.skew.push([e.t, last[1] + (c.rate ?? c.ppm) * (e.t - last[0]) / 1e6], [e.t, shown]);
      c.rate = e.ppm;
      c.marks.push(e);
      break;
    }
    case 'judge': model.violations.push(e); break;
    case 'bin': model.bins.push(e); break;
  }
}

function turn(model, open, e) {
  if (e.role === 'leader') { open.term.set(e.m, e.term); band(model, open, e.m, e.t, 'leader', e.term); }
  else if (e.role === 'primary') band(model, open, e.m, e.t, 'primary', open.term.get(e.m));
  else if (e.role === 'demoted') band(model, open, e.m, e.t, 'follower');
  else band(model, open, e.m, e.t, 'follower', null, e.leader);
}

function band(model, open, m, t, role, term = null, leader = null) {
  const last = open.role.get(m);
  if (last && last.role === role && last.term === term && last.leader === leader) return;
  if (last) { last.to = t; }
  const next = { from: t, to: null, role, term, leader };
  open.role.set(m, next);
  model.members.get(m)?.roles.push(next);
}

function finish(model) {
  for (const member of model.members.values()) {
    for (const r of member.roles) r.to ??= model.end;
    for (const b of member.bars) b.last = b.to ?? model.end;
    // Where inputs were only counted, nobody knows when a commit was durable.
    const { detail } = model.header, known = detail.all || detail.members.includes(member.id);
    for (const [m, e] of model.open.commit) if (m === member.id && known) member.commits.push({ from: e.t, to: model.end, e });
    const last = member.skew[member.skew.length - 1];
    member.skew.push([model.end, last[1] + (member.rate ?? member.ppm) * (model.end - last[0]) / 1e6]);
  }
  for (const b of model.world.bars) b.last = b.to ?? model.end;
  delete model.open;
}

// The leases that an event is about.
function leasesOf(e) {
  if (e.leases) return e.leases;
  if (e.k === 'commit') return [...new Set([...e.put, ...e.del])];
  return e.lease != null ? [e.lease] : [];
}

// An event in words, also where the trace has none for it.
function words(e) {
  switch (e.k) {
    case 'judge': return `${e.property} (${e.title}): ${e.what}`;
    case 'ask': return `asks${e.to ? ' member ' + e.to : ''}: ${e.w ?? e.op + (e.lease != null ? ' lease ' + e.lease : '')}`;
    case 'told': return `hears: ${e.w ?? `${e.op} lease ${e.lease}: ${e.why}`}`;
    case 'gave-up': return `gives up: ${e.w ?? e.op}`;
    case 'lost': return e.w ?? `the ${e.what} is lost on its way`;
    case 'due': return e.why === 'end' || e.why === 'down' ? `lease ${e.lease}: ${e.why === 'end' ? 'is gone' : 'its process ended'}`
      : e.at == null ? `lease ${e.lease} is there` : `lease ${e.lease}: ${seconds(+e.at - e.t)} s left (${e.why})`;
    case 'fault': return `fault ${e.what} ordered${e.until ? ' until ' + seconds(+e.until) : e.lasts ? ' for as long as it may' : ''}`;
    case 'over': return e.w ?? `a fault is over (${e.why})`;
    case 'agreed': return `the log commits #${e.index}: ${e.op}${e.leases.length ? ' lease ' + e.leases.join(', ') : ''}: ${e.effect}`;
    case 'send': return `sends member ${e.to} a message`;
    case 'drop': return `a message is lost (${e.why})`;
    case 'clock': return `its clock shows ${seconds(+e.shown)} s, ${e.ppm} ppm`;
    case 'role': return e.w ?? e.role;
    case 'disk': return e.torn == null ? e.w ?? e.what : `writes that were not synced: ${e.kept} kept, ${e.dropped} dropped, ${e.torn} torn`;
    case 'bin': return Object.entries(e.counts).map(([what, count]) => `${count} ${what}`).join(', ');
    default: return e.w ?? [e.k, e.kind, e.what].filter(Boolean).join(' ');
  }
}

// The causes of an event, the first one first: back to who asked for it, or to where it began.
function chain(model, e) {
  const chain = [];
  for (; e; e = e.k !== 'ask' && e.c && model.byN.get(e.c)) chain.unshift(e);
  return chain;
}

// What turns the course of things.
const isTurn = (e) => ['role', 'log', 'process', 'effect', 'over', 'clock', 'lost'].includes(e.k) && !(e.role === 'follower' && e.leader == null)
  || e.k === 'ask' && (e.op === 'promote' || e.op === 'demote') || e.k === 'disk' && e.what === 'cut';

// What led to a violation, as it is told beside the lanes: lasting conditions, the last time that it went well,
// what turned in between, this time.
function tell(model, v) {
  if (!v) return [];
  const at = v.t;
  const of = v.lease != null ? model.leases.get(String(v.lease)) : null;
  // The call that it is about: open, or answered last.
  const calls = of ? of.calls.filter((c) => c.from <= at) : [];
  const missed = v.property.startsWith('L') || v.property === 'S9d' ? calls.find((c) => c.to == null && c.outcome !== 'ok') : null;
  const bad = missed ?? calls[calls.length - 1] ?? null;
  const good = calls.filter((c) => c.outcome === 'ok' && c !== bad && (!bad || c.from < bad.from && c.op === bad.op)).pop()
    ?? calls.filter((c) => c.outcome === 'ok' && c !== bad && (!bad || c.from < bad.from)).pop() ?? null;
  const goodChain = good ? chain(model, good.told) : [];
  // Of a store it went well until the commit that was to change it last.
  const stored = !of && v.m ? model.events.filter((e) => e.k === 'commit' && e.m === v.m && e.n < v.n).pop() : null;
  const start = good ? good.to : stored ? stored.t - 1 : Math.max(0, at - 5 * SECOND);
  const badChain = bad ? chain(model, bad.told ?? lastOf(model, bad)) : [];
  const because = v.because.map((n) => model.byN.get(n)).filter((e) => e && e.t <= at && e.k !== 'fault');
  const seen = new Set();
  const section = (title, events, kind) => ({ title, steps: events.filter((e) => !seen.has(e.n) && seen.add(e.n)).sort((a, b) => a.n - b.n).map((e) => ({ e, kind })) });
  const conditions = lasting(model, start, at).map((text) => ({ text, kind: 'turn' }));
  const turns = model.events.filter((e) => e.t > start && e.t <= at && isTurn(e) && (!stored || !e.m || e.m === v.m));
  const story = [];
  if (conditions.length) story.push({ title: 'all the time', steps: conditions });
  // Steps compare only with those of the same operation.
  const same = good && bad && good.op === bad.op, took = good ? `${((good.to - good.from) / 1e6).toFixed(0)} ms` : '';
  const title = same || !bad ? `the last time it went well (${good?.op}, ${took})` : `before, a ${good?.op} went well (${took})`;
  if (goodChain.length) story.push(section(title, goodChain));
  const middle = section('then', turns.slice(-14), 'turn');
  if (turns.length > 14) middle.steps.unshift({ text: `${turns.length - 14} more before these`, kind: 'dim' });
  if (middle.steps.length) story.push(middle);
  // Of a lease what was last heard of it; of a store what was last done to it.
  const bears = (e) => of == null || e.k !== 'disk' && (e.k !== 'commit' || leasesOf(e).some((id) => String(id) === of.id));
  const recent = because.filter((e) => bears(e) && (e.t >= start || ['due', 'commit', 'disk'].includes(e.k)));
  const written = stored ? model.events.filter((e) => e.k === 'disk' && e.what !== 'cut' && e.m === v.m && e.t >= stored.t).slice(0, 12) : [];
  const now = section('this time', [...badChain, ...written, ...recent].filter((e) => e.k !== 'judge'));
  if (same && bad.told == null) {
    const had = goodChain.map((e) => e.k), has = new Set(badChain.map((e) => e.k));
    const missing = had.find((k) => !has.has(k));
    if (missing) now.steps.push({ text: `missing: ${MISSING[missing] ?? missing} (the last time after ${took})`, kind: 'missing' });
  }
  if (now.steps.length) story.push(now);
  story.push({ title: 'so', steps: [{ e: v, kind: 'bad' }] });
  return story;
}

const MISSING = { in: 'the member takes the request', propose: 'the member proposes it', agreed: 'the log commits it', apply: 'the member applies it', commit: 'the member commits it', out: 'the member answers', told: 'the lessee hears the answer', confirm: 'the member asks whether it leads' };

// The last event that came of a call which has no end.
function lastOf(model, call) {
  let last = call.ask;
  for (let i = call.ask.i + 1; i < model.events.length; i++) {
    const e = model.events[i];
    if (e.call === call.ask.call || e.c === last.n && ['propose', 'agreed', 'apply', 'confirm'].includes(e.k)) last = e;
  }
  return last;
}

// When a fault ends that has not ended yet.
const ending = (bar) => bar.to != null ? '' : bar.e.until ? `, until ${seconds(+bar.e.until)}` : ', for ever';

// What was so before a moment and still is at another one.
function lasting(model, since, until) {
  const text = [];
  const bars = [...model.world.bars, ...[...model.members.values()].flatMap((m) => m.bars)];
  for (const b of new Set(bars)) {
    if (b.from <= since && b.last >= until) {
      const of = b.members.length ? ` (member ${b.members.join(', ')})` : '';
      text.push(`since ${seconds(b.from)}: ${b.what}${of}${ending(b)}`);
    }
  }
  for (const m of model.members.values()) {
    for (const r of m.roles) if (r.role === 'down' && r.from <= since && r.to >= until) text.push(`since ${seconds(r.from)}: member ${m.id} is down`);
  }
  return text;
}
