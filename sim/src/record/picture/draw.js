// The lanes on their canvases. It knows the model and what is shown, and no page around.

const GUTTER = 132;
// Okabe and Ito's colours, which people with any colour vision tell apart; vermilion is kept for what is wrong.
const MEMBER = ['#888888', '#0072B2', '#E69F00', '#009E73', '#CC79A7', '#56B4E9', '#8C6BB1', '#A6761D'];
const INK = ['#000', '#fff', '#000', '#fff', '#000', '#000', '#fff', '#fff'];
const WRONG = '#D55E00';
const FONT = 'system-ui, "DejaVu Sans", sans-serif';
const HEIGHT = { why: 52, world: 62, member: 84, lease: 100, herd: 60 };

const color = (m) => MEMBER[m] ?? MEMBER[0];

class View {
  constructor(model, canvases) {
    this.model = model;
    this.canvases = canvases;
    this.from = 0; this.to = model.end; this.selected = null; this.hovered = null; this.cursor = null;
    this.showMessages = false; this.badges = new Map(); this.shownLeases = firstLeases(model);
    this.layout();
  }

  layout() {
    const lanes = [{ kind: 'world', name: 'log and network' }];
    if (this.model.header.why) lanes.unshift({ kind: 'why', name: 'futures that fail' });
    for (const member of this.model.members.values()) lanes.push({ kind: 'member', name: `member ${member.id}`, member });
    for (const id of this.shownLeases) lanes.push({ kind: 'lease', name: `lease ${id}`, lease: this.model.leases.get(id) });
    const { herds } = this.model.header;
    if (herds.length) lanes.push({ kind: 'herd', name: herds.length === 1 ? `herd ${herds[0].name}` : 'herds', herds });
    let y = 4;
    for (const lane of lanes) { lane.height = HEIGHT[lane.kind]; lane.y = y; y += lane.height + 4; }
    this.lanes = lanes; this.height = y + 8;
    // The events of each lane, and where they stand in it.
    for (const lane of lanes) lane.events = this.eventsOf(lane);
  }

  eventsOf(lane) {
    if (lane.kind === 'member') return lane.member.events.filter((e) => !INSIDE.has(e.k) || e.k === 'commit');
    if (lane.kind === 'lease') return lane.lease.events.filter((e) => ['ask', 'told', 'gave-up', 'lost', 'expire', 'guard', 'judge'].includes(e.k));
    if (lane.kind === 'world') return this.model.events.filter((e) => e.k === 'log' || (!e.m && ['effect', 'over', 'expect'].includes(e.k)));
    return [];
  }

  resize(width, least) {
    this.width = width;
    this.shown = Math.max(this.height, least);
    const scale = this.scale = globalThis.devicePixelRatio || 1;
    for (const [name, height] of [['lanes', this.shown], ['overview', 56], ['ruler', 24]]) {
      const canvas = this.canvases[name];
      canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
    }
    const style = getComputedStyle(document.documentElement);
    this.c = {};
    for (const name of ['bg', 'fg', 'dim', 'line', 'panel', 'follow', 'down', 'bad', 'sel']) this.c[name] = style.getPropertyValue(`--${name}`).trim();
    this.hatch = new Map();
  }

  x(t) { return GUTTER + (t - this.from) / (this.to - this.from) * (this.width - GUTTER); }
  time(x) { return this.from + (x - GUTTER) / (this.width - GUTTER) * (this.to - this.from); }

  // The part of a span that is in view, in pixels.
  span(from, to) {
    const a = Math.max(GUTTER, this.x(from)), b = Math.min(this.width, this.x(to));
    return b < GUTTER || a > this.width ? null : [a, Math.max(b, a + 1)];
  }

  paint() {
    const g = this.g = this.canvases.lanes.getContext('2d');
    g.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    g.fillStyle = this.c.bg; g.fillRect(0, 0, this.width, this.shown);
    const step = this.step();
    g.fillStyle = this.c.line;
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) g.fillRect(this.x(t), 0, 1, this.shown);
    for (const lane of this.lanes) {
      g.fillStyle = this.c.line; g.fillRect(0, lane.y + lane.height + 1, this.width, 1);
      this[lane.kind](lane);
    }
    if (this.showMessages || this.to - this.from < 0.4 * SECOND) this.messages();
    if (this.selected) this.causes(this.selected);
    this.violations();
    this.storyBadges();
    this.gutter();
    this.marked(this.hovered, this.c.dim, 1); this.marked(this.selected, this.c.fg, 2);
    if (this.cursor != null) this.vertical(this.x(this.cursor), this.c.dim, 0.7);
    this.ruler(step);
    this.overview();
  }

  step() {
    const least = (this.to - this.from) / Math.max(4, (this.width - GUTTER) / 90);
    const power = 10 ** Math.floor(Math.log10(least));
    return [1, 2, 5, 10].map((k) => k * power).find((s) => s >= least);
  }

  text(words, x, y, fill = this.c.fg, font = `11px ${FONT}`, align = 'left') {
    const g = this.g;
    g.font = font; g.fillStyle = fill; g.textAlign = align; g.textBaseline = 'middle'; g.fillText(words, x, y);
  }

  // Words inside a bar, if there is room for some.
  label(words, x, width, y, fill, font) {
    if (width < 18) return;
    const g = this.g;
    g.save(); g.beginPath(); g.rect(x, y - 10, width - 3, 20); g.clip(); this.text(words, x + 4, y, fill, font); g.restore();
  }

  hatched(fill) {
    if (!this.hatch.has(fill)) {
      const tile = document.createElement('canvas'); tile.width = tile.height = 7;
      const g = tile.getContext('2d'); g.strokeStyle = fill; g.lineWidth = 1.5;
      g.beginPath(); g.moveTo(0, 7); g.lineTo(7, 0); g.moveTo(-1, 1); g.lineTo(1, -1); g.moveTo(6, 8); g.lineTo(8, 6); g.stroke();
      this.hatch.set(fill, this.g.createPattern(tile, 'repeat'));
    }
    return this.hatch.get(fill);
  }

  bar(b, y, height) {
    const s = this.span(b.from, b.last);
    if (!s) return;
    const g = this.g;
    g.fillStyle = this.hatched(WRONG); g.fillRect(s[0], y, s[1] - s[0], height);
    g.strokeStyle = WRONG; g.lineWidth = 1; g.strokeRect(s[0] + 0.5, y + 0.5, s[1] - s[0] - 1, height - 1);
    const words = b.what + ending(b);
    g.font = `600 10.5px ${FONT}`;
    const width = Math.min(g.measureText(words).width + 8, s[1] - s[0] - 2);
    if (width > 18) { g.fillStyle = this.c.bg; g.fillRect(s[0] + 1, y + 1, width, height - 2); this.label(words, s[0], width + 6, y + height / 2, this.c.fg, `600 10.5px ${FONT}`); }
  }

  // A lane's own events as ticks: one bin a pixel where they are many, so that a frame costs the width.
  ticks(events, y, height, fill) {
    const a = lower(events, this.from), b = lower(events, this.to);
    const g = this.g; g.fillStyle = fill;
    if (b - a < this.width) { for (let i = a; i < b; i++) g.fillRect(this.x(events[i].t) - 0.5, y, 1.5, height); return; }
    let i = a, most = 1; const bins = [];
    for (let x = GUTTER; x <= this.width; x++) { const next = lower(events, this.time(x + 1)); bins.push(next - i); most = Math.max(most, next - i); i = next; }
    bins.forEach((n, p) => { if (n) { const h = Math.log1p(n) / Math.log1p(most) * height; g.fillRect(GUTTER + p, y + height - h, 1, h); } });
  }

  world(lane) {
    this.model.world.bars.slice(0, 40).forEach((b, i) => this.bar(b, lane.y + 2 + i % 2 * 15, 13));
    const free = [-1e9, -1e9];
    for (const e of this.model.world.notes) {
      const x = this.x(e.t);
      if (x < GUTTER || x > this.width) continue;
      this.g.fillStyle = e.what === 'elected' ? this.c.fg : this.c.dim;
      this.diamond(x, lane.y + 40, 4.5);
      const words = e.what === 'elected' ? `${e.m} elected, term ${e.term}` : e.k === 'effect' ? e.w ?? e.what : e.what;
      this.g.font = `10.5px ${FONT}`;
      const row = x > free[0] ? 0 : x > free[1] ? 1 : -1;
      if (row >= 0) { this.text(words, x + 7, lane.y + 38 + row * 13, this.c.fg, `10.5px ${FONT}`); free[row] = x + this.g.measureText(words).width + 14; }
    }
  }

  // How many of the futures from each moment on fail: where it rises, the failure was decided.
  why(lane) {
    const g = this.g, { futures, moments } = this.model.header.why, bottom = lane.y + lane.height - 4;
    g.strokeStyle = this.c.bad; g.lineWidth = 2; g.beginPath();
    const points = moments.map((m) => [Math.max(GUTTER, Math.min(this.width, this.x(m.at_ns))), bottom - m.failed / futures * (lane.height - 14)]);
    points.forEach(([x, y], i) => { if (i) g.lineTo(x, y); else g.moveTo(x, y); });
    g.stroke();
    g.fillStyle = this.c.bad;
    moments.forEach((m, i) => { if (points[i][0] > GUTTER && points[i][0] < this.width) this.dot(...points[i], 2.5); });
  }

  member(lane) {
    const { member } = lane, g = this.g, y = lane.y;
    for (const r of member.roles) {
      const s = this.span(r.from, r.to);
      if (!s) continue;
      const [x, w] = [s[0], s[1] - s[0]];
      if (r.role === 'primary') { g.fillStyle = color(member.id); g.fillRect(x, y + 3, w, 17); this.label(`PRIMARY${r.term ? ' term ' + r.term : ''}`, x, w, y + 12, INK[member.id], `bold 11px ${FONT}`); }
      else if (r.role === 'leader') { g.fillStyle = this.hatched(color(member.id)); g.fillRect(x, y + 3, w, 17); this.label('leads, not promoted', x, w, y + 12); }
      else if (r.role === 'down') { g.fillStyle = this.c.down; g.fillRect(x, y + 9, w, 5); this.label('down', x, w, y + 5, this.c.dim, `10px ${FONT}`); }
      else { g.fillStyle = this.c.follow; g.fillRect(x, y + 7, w, 9); this.label(r.leader ? `follows ${r.leader}` : 'follows nobody', x, w, y + 12, this.c.dim, `10px ${FONT}`); }
    }
    member.bars.forEach((b, i) => this.bar(b, y + 23 + Math.min(i, 1) * 3, 12));
    this.skew(member, y + 38, 10);
    const marks = member.marks;
    for (let i = lower(marks, this.from), last = -9; i < marks.length && marks[i].t <= this.to; i++) {
      const e = marks[i], x = this.x(e.t);
      if (x - last < 3) continue;
      last = x; this.mark(e, x, y + 54);
    }
    this.ticks(lane.inputs ??= member.events.filter((e) => e.k === 'in' || e.k === 'out' || e.k === 'apply'), y + 64, 7, this.c.dim);
    for (const c of member.commits) {
      const s = this.span(c.from, c.to);
      if (s && (s[1] - s[0] > 1.5 || member.commits.length < 400)) { g.fillStyle = color(member.id); g.fillRect(s[0], y + 74, s[1] - s[0], 4); }
    }
    this.ticks(lane.disk ??= member.events.filter((e) => e.k === 'disk'), y + 79, 4, this.c.dim);
  }

  mark(e, x, y) {
    const g = this.g;
    if (e.k === 'expire') { g.fillStyle = WRONG; this.triangle(x, y, 5); return; }
    const bad = e.k === 'effect' || ['power-lost', 'failed', 'down', 'unreadable', 'empty-disk', 'older-disk'].includes(e.what);
    g.strokeStyle = g.fillStyle = bad ? WRONG : this.c.fg;
    if (e.what === 'power-lost' || e.what === 'down' || e.what === 'failed') this.cross(x, y, 4);
    else if (e.k === 'clock') this.ring(x, y, 4);
    else this.diamond(x, y, 4);
  }

  // How far a clock is from true time, as a curve, if it ever is.
  skew(member, y, height) {
    const points = member.skew, most = Math.max(...points.map((p) => Math.abs(p[1])));
    if (most < 1e6) return;
    const g = this.g; g.strokeStyle = color(member.id); g.lineWidth = 1.5; g.beginPath();
    points.forEach(([t, skew], i) => { const x = Math.max(GUTTER, Math.min(this.width, this.x(t))), py = y + height / 2 - skew / most * height / 2; if (i) g.lineTo(x, py); else g.moveTo(x, py); });
    g.stroke();
  }

  lease(lane) {
    const { lease } = lane, g = this.g, top = lane.y + 24, bottom = lane.y + lane.height - 22, height = bottom - top;
    let most = lease.ttl ?? SECOND;
    for (const points of lease.due.values()) for (const p of points) if (p.at != null) most = Math.max(most, Math.min(p.at - p.t, 2 * (lease.ttl ?? Infinity)));
    const py = (left) => bottom - Math.max(0, Math.min(left, most)) / most * height;
    let row = 0;
    for (const [m, points] of lease.due) {
      points.forEach((p, i) => {
        const until = i + 1 < points.length ? points[i + 1].t : this.model.end;
        const s = this.span(p.t, until);
        if (!s) return;
        if (p.there) { g.fillStyle = color(m); g.fillRect(s[0], bottom + 4 + row * 3, s[1] - s[0], 2); }
        if (p.at != null) this.tooth(p.t, Math.min(until, p.at), p.at, until, py, color(m));
      });
      row += 1;
    }
    g.strokeStyle = this.c.fg; g.lineWidth = 1.3; g.setLineDash([4, 3]);
    lease.told.forEach(([t, until], i) => {
      const to = i + 1 < lease.told.length ? lease.told[i + 1][0] : until;
      const from = Math.max(t, this.from), last = Math.min(to, until, this.to);
      if (last <= from) return;
      g.beginPath(); g.moveTo(this.x(from), py(until - from)); g.lineTo(this.x(last), py(until - last)); g.stroke();
    });
    g.setLineDash([]);
    let free = -1e9;
    const calls = lease.calls;
    for (const call of calls) {
      const s = this.span(call.from, call.to ?? this.model.end);
      if (!s) continue;
      g.fillStyle = color(call.member); g.fillRect(s[0], lane.y + 11, s[1] - s[0], 2);
      const asked = this.x(call.from);
      if (asked >= GUTTER) {
        g.fillRect(asked - 1, lane.y + 6, 2, 12);
        const never = call.to == null ? ' never answered' : '';
        if (asked > free || never) { this.text(call.op + never, asked + 4, lane.y + 5, never ? this.c.bad : this.c.fg, `${never ? 'bold ' : ''}10px ${FONT}`); free = asked + g.measureText(call.op).width + 12; }
      }
      if (call.to != null) this.outcome(call.outcome, this.x(call.to), lane.y + 12);
    }
    g.fillStyle = WRONG;
    for (const e of lease.expired) { const x = this.x(e.t); if (x >= GUTTER && x <= this.width) this.triangle(x, bottom - 2, 5); }
  }

  // The time left on one member, from one deadline to the next: it falls to nothing, and stays there.
  tooth(from, to, at, until, py, fill) {
    const g = this.g, a = Math.max(from, this.from), b = Math.min(to, this.to);
    if (b > a) {
      g.beginPath(); g.moveTo(this.x(a), py(at - a)); g.lineTo(this.x(b), py(at - b)); g.strokeStyle = fill; g.lineWidth = 2; g.stroke();
      g.lineTo(this.x(b), py(0)); g.lineTo(this.x(a), py(0)); g.closePath(); g.globalAlpha = 0.16; g.fillStyle = fill; g.fill(); g.globalAlpha = 1;
    }
    const s = at < until ? this.span(at, until) : null;
    if (s) { g.fillStyle = WRONG; g.fillRect(s[0], py(0) - 1, s[1] - s[0], 2); }
  }

  outcome(outcome, x, y) {
    if (x < GUTTER || x > this.width) return;
    const g = this.g; g.fillStyle = g.strokeStyle = this.c.fg;
    if (outcome === 'ok') this.dot(x, y, 3.5);
    else if (outcome === 'refused') { g.fillStyle = this.c.bg; this.dot(x, y, 3.5); this.ring(x, y, 3.5); }
    else if (outcome === 'unknown') this.text('?', x, y, this.c.bad, `bold 13px ${FONT}`, 'center');
    else { g.strokeStyle = this.c.bad; this.cross(x, y, 3.5); }
  }

  herd(lane) {
    const g = this.g, wide = this.x(SECOND) - this.x(0);
    let most = 1;
    const of = this.model.bins.map((e) => {
      let ok = 0, bad = 0;
      for (const [what, count] of Object.entries(e.counts)) if (what.startsWith('told ')) { if (what.endsWith(' ok') && !what.endsWith('not ok')) ok += count; else bad += count; }
      most = Math.max(most, ok + bad);
      return { t: e.t, ok, bad };
    }).filter((b) => b.ok + b.bad > 0 && b.t >= this.from - SECOND && b.t <= this.to);
    for (const b of of) {
      const x = Math.max(GUTTER, this.x(b.t)), w = Math.max(1, wide - 1), h = (n) => n / most * (lane.height - 16), y = lane.y + lane.height - 4;
      g.fillStyle = '#009E73'; g.fillRect(x, y - h(b.ok), w, h(b.ok));
      g.fillStyle = WRONG; g.fillRect(x, y - h(b.ok) - h(b.bad), w, h(b.bad));
    }
    if (!of.length) this.text('every lease of it has a lane or is in the list', GUTTER + 8, lane.y + 20, this.c.dim, `10.5px ${FONT}`);
  }

  laneOfMember(m) { return this.lanes.find((lane) => lane.kind === 'member' && lane.member.id === m); }

  messages() {
    const g = this.g, shown = this.model.messages.filter((m) => m.end.t >= this.from && m.sent.t <= this.to);
    for (const m of shown.slice(0, 600)) {
      const a = this.laneOfMember(m.sent.m), b = this.laneOfMember(m.lost ? m.sent.to : m.end.m);
      if (!a || !b) continue;
      const [x0, y0, x1, y1] = [this.x(m.sent.t), a.y + 67, this.x(m.end.t), b.y + 67];
      g.strokeStyle = m.lost ? WRONG : color(m.sent.m); g.globalAlpha = 0.55; g.lineWidth = 1; g.setLineDash(m.lost ? [3, 3] : []);
      const end = m.lost ? [x0 + 8, y0 + (y1 - y0) * 0.4] : [x1, y1];
      g.beginPath(); g.moveTo(Math.max(GUTTER, x0), y0); g.lineTo(Math.max(GUTTER, end[0]), end[1]); g.stroke();
      if (m.lost) { g.globalAlpha = 1; this.cross(end[0], end[1], 3); }
    }
    g.globalAlpha = 1; g.setLineDash([]);
  }

  // An event's causes, and what it causes, as a line from lane to lane.
  causes(e) {
    const g = this.g, points = chain(this.model, e).map((of) => [this.x(of.t), this.place(of)]).filter(([, y]) => y != null);
    g.strokeStyle = this.c.fg; g.lineWidth = 1.2; g.setLineDash([2, 3]); g.beginPath();
    points.forEach(([x, y], i) => { const at = Math.max(GUTTER, Math.min(this.width, x)); if (i) g.lineTo(at, y); else g.moveTo(at, y); });
    g.stroke(); g.setLineDash([]);
  }

  laneOf(e) {
    const of = ['ask', 'told', 'gave-up', 'lost', 'judge', 'guard'].includes(e.k) && e.lease != null
      ? this.lanes.find((lane) => lane.kind === 'lease' && lane.lease.id === String(e.lease)) : null;
    return of ?? (e.m && this.laneOfMember(e.m)) ?? this.lanes.find((lane) => lane.kind === 'world');
  }

  place(e) {
    const lane = this.laneOf(e);
    if (lane.kind === 'lease') return lane.y + 12;
    if (lane.kind === 'world') return lane.y + 40;
    return lane.y + (e.k === 'role' ? 12 : e.k === 'commit' ? 76 : e.k === 'disk' ? 80 : INSIDE.has(e.k) || e.k === 'apply' ? 67 : 54);
  }

  violations() {
    this.model.violations.forEach((v, i) => {
      const x = this.x(v.t), words = `✖ ${v.property} broken`, g = this.g;
      if (x >= GUTTER - 1 && x <= this.width + 1) this.vertical(x, this.c.bad, 2);
      else if (i) return;
      g.font = `bold 11px ${FONT}`;
      const out = x > this.width + 1 ? `${words} at ${seconds(v.t)} →` : x < GUTTER - 1 ? `← ${words} at ${seconds(v.t)}` : words;
      const width = g.measureText(out).width + 10, left = Math.max(GUTTER, Math.min(x, this.width - width));
      g.fillStyle = this.c.bad; g.fillRect(left, 0, width, 16); this.text(out, left + 5, 8, this.c.bg, `bold 11px ${FONT}`);
    });
  }

  // The numbers of the story, again at the events that they are of.
  storyBadges() {
    const put = [];
    for (const [e, { number, kind }] of this.badges) {
      const x = this.x(e.t);
      if (x < GUTTER || x > this.width) continue;
      let y = this.place(e);
      while (put.some(([px, py]) => Math.abs(px - x) < 15 && Math.abs(py - y) < 15)) y += 15;
      put.push([x, y]);
      const g = this.g; g.fillStyle = kind === 'bad' ? this.c.bad : kind === 'turn' ? WRONG : this.c.fg; this.dot(x, y, 8);
      g.strokeStyle = this.c.bg; g.lineWidth = 1; this.ring(x, y, 8);
      this.text(String(number), x, y + 0.5, kind === 'turn' ? '#000' : this.c.bg, `bold 10px ${FONT}`, 'center');
    }
  }

  gutter() {
    const g = this.g;
    g.fillStyle = this.c.panel; g.fillRect(0, 0, GUTTER, this.shown); g.fillStyle = this.c.line; g.fillRect(GUTTER - 1, 0, 1, this.shown);
    for (const lane of this.lanes) {
      const bad = this.model.violations.some((v) => lane.kind === 'lease' ? String(v.lease) === lane.lease.id : lane.kind === 'member' && v.m === lane.member.id);
      g.save(); g.beginPath(); g.rect(0, lane.y, GUTTER - 2, lane.height); g.clip();
      if (bad) { g.fillStyle = this.c.bad; g.fillRect(0, lane.y, 4, lane.height); }
      const small = `10px ${FONT}`, x = lane.kind === 'member' ? 25 : 9;
      if (lane.kind === 'member') { g.fillStyle = color(lane.member.id); g.fillRect(8, lane.y + 7, 12, 12); }
      this.text(lane.name, x, lane.y + 13, bad ? this.c.bad : this.c.fg, `bold 12px ${FONT}`);
      if (lane.kind === 'member') {
        const { offset, ppm } = lane.member, hours = offset / SECOND / 3600;
        this.text(`clock +${hours >= 48 ? Math.round(hours / 24) + ' d' : hours.toFixed(1) + ' h'}${ppm ? `, ${ppm} ppm` : ''}`, 9, lane.y + 30, this.c.dim, small);
        this.text('faults, events', 9, lane.y + 54, this.c.dim, small); this.text('in, out; commits, disk', 9, lane.y + 72, this.c.dim, small);
      } else if (lane.kind === 'lease') {
        const ttl = lane.lease.ttl;
        if (bad) this.text('in the violation', 9, lane.y + 29, this.c.bad, small);
        this.text(ttl == null ? 'never granted' : `ttl ${ttl / SECOND < 1e8 ? ttl / SECOND + ' s' : 'as long as it may'}`, 9, lane.y + 44, this.c.dim, small);
        this.text('time left ↑', 9, lane.y + lane.height - 34, this.c.dim, small); this.text('is there, on member', 9, lane.y + lane.height - 14, this.c.dim, small);
      } else if (lane.kind === 'why') {
        this.text('of those drawn anew from', 9, lane.y + 28, this.c.dim, small); this.text('there on; 100 % above', 9, lane.y + 41, this.c.dim, small);
      } else if (lane.kind === 'herd') {
        const leases = lane.herds.reduce((sum, herd) => sum + herd.leases, 0);
        this.text(`${leases} leases; answers a`, 9, lane.y + 30, this.c.dim, small); this.text('second: ok, not ok', 9, lane.y + 43, this.c.dim, small);
      }
      g.restore();
    }
  }

  marked(e, fill, width) {
    if (!e) return;
    const x = this.x(e.t);
    if (x < GUTTER || x > this.width) return;
    this.vertical(x, fill, width / 2);
    this.g.strokeStyle = fill; this.g.lineWidth = width; this.g.strokeRect(x - 6, this.place(e) - 7, 12, 14);
  }

  vertical(x, stroke, width) { const g = this.g; g.strokeStyle = stroke; g.lineWidth = width; g.beginPath(); g.moveTo(x, 0); g.lineTo(x, this.shown); g.stroke(); }
  dot(x, y, r) { const g = this.g; g.beginPath(); g.arc(x, y, r, 0, 7); g.fill(); }
  ring(x, y, r) { const g = this.g; g.beginPath(); g.arc(x, y, r, 0, 7); g.lineWidth = 1.5; g.stroke(); }
  cross(x, y, r) { const g = this.g; g.lineWidth = 2; g.beginPath(); g.moveTo(x - r, y - r); g.lineTo(x + r, y + r); g.moveTo(x + r, y - r); g.lineTo(x - r, y + r); g.stroke(); }
  diamond(x, y, r) { const g = this.g; g.beginPath(); g.moveTo(x, y - r); g.lineTo(x + r, y); g.lineTo(x, y + r); g.lineTo(x - r, y); g.closePath(); g.fill(); }
  triangle(x, y, r) { const g = this.g; g.beginPath(); g.moveTo(x - r, y - r); g.lineTo(x + r, y - r); g.lineTo(x, y + r); g.closePath(); g.fill(); }

  ruler(step) {
    const lanes = this.g, g = this.g = this.canvases.ruler.getContext('2d');
    g.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    g.fillStyle = this.c.panel; g.fillRect(0, 0, this.width, 24);
    const digits = step >= SECOND ? 0 : step >= SECOND / 10 ? 1 : step >= SECOND / 100 ? 2 : step >= SECOND / 1000 ? 3 : 6;
    for (let t = Math.ceil(this.from / step) * step; t <= this.to; t += step) {
      const x = this.x(t); g.fillStyle = this.c.dim; g.fillRect(x, 17, 1, 7);
      if (x > GUTTER + 20) this.text((t / SECOND).toFixed(digits), x, 9, this.c.fg, `11px ${FONT}`, x > this.width - 30 ? 'right' : 'center');
    }
    this.text('virtual time, s', 6, 12, this.c.dim);
    if (this.cursor != null) {
      const words = `${seconds(this.cursor)} s`; g.font = `bold 11px ${FONT}`;
      const width = g.measureText(words).width + 8, x = Math.min(this.width - width, this.x(this.cursor));
      g.fillStyle = this.c.fg; g.fillRect(x, 2, width, 16); this.text(words, x + 4, 10, this.c.bg, `bold 11px ${FONT}`);
    }
    this.g = lanes;
  }

  overview() {
    const lanes = this.g, g = this.g = this.canvases.overview.getContext('2d'), { model } = this;
    g.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    g.fillStyle = this.c.panel; g.fillRect(0, 0, this.width, 56);
    const wide = this.width - GUTTER, x = (t) => GUTTER + t / model.end * wide;
    if (this.density?.length !== Math.ceil(wide) + 1) {
      this.density = new Uint32Array(Math.ceil(wide) + 1);
      for (const e of model.events) this.density[Math.min(this.density.length - 1, Math.floor(e.t / model.end * wide))] += 1;
    }
    const most = Math.log1p(this.density.reduce((a, b) => Math.max(a, b), 1));
    g.fillStyle = this.c.dim;
    this.density.forEach((n, p) => { if (n) { const h = Math.log1p(n) / most * 22; g.fillRect(GUTTER + p, 54 - h, 1, h); } });
    const rows = Math.max(2, Math.min(7, Math.floor(28 / model.members.size)));
    let y = 3;
    for (const member of model.members.values()) {
      for (const r of member.roles) {
        if (r.role === 'primary') { g.fillStyle = color(member.id); g.fillRect(x(r.from), y, Math.max(1, x(r.to) - x(r.from)), rows - 1); }
        else if (r.role === 'down') { g.fillStyle = this.c.down; g.fillRect(x(r.from), y + rows / 2 - 1, Math.max(1, x(r.to) - x(r.from)), 1.5); }
      }
      y += rows;
    }
    for (const v of model.violations) { g.fillStyle = this.c.bad; g.fillRect(x(v.t) - 1, 0, 3, 56); }
    const [a, b] = [x(Math.max(0, this.from)), x(Math.min(model.end, this.to))];
    g.strokeStyle = this.c.fg; g.lineWidth = 1.5; g.strokeRect(a, 1, Math.max(2, b - a), 54);
    this.text('whole run', 6, 14, this.c.dim); this.text(`${model.events.length.toLocaleString('en')} events`, 6, 30, this.c.dim);
    this.g = lanes;
  }

  // The event nearest to a point of the lanes.
  hit(x, y) {
    const lane = this.lanes.find((of) => y >= of.y && y <= of.y + of.height);
    if (!lane || x < GUTTER) return null;
    for (const [e] of this.badges) if (Math.abs(this.x(e.t) - x) < 8 && Math.abs(this.place(e) - y) < 9) return e;
    const events = lane.events, from = lower(events, this.time(x - 8));
    let best = null, nearest = 8;
    for (let i = from; i < events.length && this.x(events[i].t) - x < nearest; i++) {
      const far = Math.abs(this.x(events[i].t) - x);
      if (far < nearest) { nearest = far; best = events[i]; }
    }
    return best;
  }
}

// The first of some events, by time, that is not before a moment.
function lower(events, t) {
  let a = 0, b = events.length;
  while (a < b) { const m = (a + b) >> 1; if (events[m].t < t) a = m + 1; else b = m; }
  return a;
}

// The leases that have a lane at first: those of violations, then of no herd, then one of each herd.
function firstLeases(model) {
  const first = new Set();
  for (const v of model.violations) if (v.lease != null) first.add(String(v.lease));
  const herds = model.header.herds.map((h) => [BigInt(h.first), BigInt(h.first) + BigInt(h.leases)]);
  const ofHerd = (id) => herds.some(([a, b]) => BigInt(id) >= a && BigInt(id) < b);
  const named = [...model.leases.keys()];
  for (const id of named.filter((id) => !ofHerd(id))) if (first.size < 10) first.add(id);
  for (const [a] of herds) if (model.leases.has(String(a))) first.add(String(a));
  return [...first].filter((id) => model.leases.has(id));
}
