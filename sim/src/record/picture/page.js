// The page around the lanes: the story, the list, keys, the link. It begins at the bottom.

const $ = (id) => document.getElementById(id);
const ROW = 18;

class Page {
  constructor(model) {
    this.model = model;
    this.view = new View(model, { lanes: $('lanes'), overview: $('overview'), ruler: $('ruler') });
    this.query = ''; this.inside = false; this.rows = []; this.pool = [];
    this.violation = model.violations[0] ?? null;
    this.head(); this.tellStory(); this.listen(); this.readLink();
    this.filter(); this.resize();
  }

  head() {
    const { header } = this.model;
    document.title = `${header.name}: ${header.verdict}`;
    $('name').textContent = header.name;
    $('verdict').textContent = header.verdict;
    $('verdict').className = header.verdict === 'clean' ? '' : 'bad';
    $('facts').textContent = `seed ${header.seed} · ${header.members.length} ${header.members.length === 1 ? 'member' : 'members'} · ${(this.model.end / SECOND).toFixed(0)} s · hash ${header.hash.slice(0, 12)}`;
    $('finding').textContent = header.findings[0] ?? '';
    $('to-violation').hidden = !this.violation;
    const add = $('add-lane');
    add.append(new Option('+ lane of a lease', ''));
    for (const id of [...this.model.leases.keys()].slice(0, 2000)) add.append(new Option(`lease ${id}`, id));
    $('legend').innerHTML = '<span><b>▬</b> primary</span><span><b>╱╱</b> fault, or a leader that is not promoted</span><span><b>saw tooth</b> time left, as that primary sees it</span><span><b>┄┄</b> as the lessee may count on it</span><span><b>●</b> ok <b>○</b> refused <b>?</b> unknown <b>×</b> given up</span><span><b>▼</b> found expired</span><span><b>◆</b> event <b>✕</b> down</span><span><b>?</b> keys</span>';
  }

  tellStory() {
    const story = $('story');
    story.replaceChildren();
    const title = document.createElement('h2');
    title.textContent = this.violation ? 'What led to it' : 'What this is';
    story.append(title);
    if (!this.violation) {
      const text = document.createElement('div');
      text.textContent = this.model.header.story || 'A run in which nothing was wrong.';
      story.append(text);
      return;
    }
    let number = 0;
    this.story = [];
    for (const { title: name, steps } of tell(this.model, this.violation)) {
      const head = document.createElement('h3');
      head.textContent = name;
      story.append(head);
      for (const { e, text, kind } of steps) {
        const step = document.createElement('div');
        step.className = `step ${kind ?? ''}`;
        const badge = document.createElement('span');
        badge.className = `badge ${kind === 'bad' || kind === 'missing' ? 'bad' : ''}`;
        badge.textContent = e ? String(++number) : '·';
        const time = document.createElement('span');
        time.className = 'time';
        time.textContent = e ? seconds(e.t) : '';
        const said = document.createElement('span');
        said.textContent = e ? `${e.m && !['ask', 'told', 'gave-up', 'lost', 'judge'].includes(e.k) ? `member ${e.m}: ` : ''}${words(e)}` : text;
        step.append(badge, time, said);
        if (e) {
          step.dataset.n = e.n;
          step.onclick = () => this.select(e, true);
          this.view.badges.set(e, { number, kind });
          this.story.push(e);
        }
        story.append(step);
      }
    }
  }

  // What is shown first: all of the story up to the violation.
  toViolation() {
    if (!this.violation) return this.show(0, this.model.end);
    const of = (this.story ?? []).filter((e) => e.t <= this.violation.t).map((e) => e.t);
    let from = Math.min(...of, this.violation.t);
    const late = this.violation.t - Math.max(...of.filter((t) => t < this.violation.t), from);
    // What is only missed at the end went wrong long before it.
    const to = late > (this.violation.t - from) * 0.7 && of.length > 2 ? this.violation.t - late : this.violation.t;
    const room = (to - from) * 0.1 + 0.02 * SECOND;
    this.show(from - room, to + room);
  }

  show(from, to) {
    const least = 20000, { end } = this.model;
    let width = Math.max(least, Math.min(to - from, end * 1.02));
    from = Math.max(-end * 0.01, Math.min(from, end * 1.01 - width));
    this.view.from = from; this.view.to = from + width;
    this.draw(); this.writeLink();
  }

  zoom(factor, x) {
    const t = x == null ? (this.view.from + this.view.to) / 2 : this.view.time(x);
    this.show(t - (t - this.view.from) * factor, t + (this.view.to - t) * factor);
  }

  pan(share) { const by = (this.view.to - this.view.from) * share; this.show(this.view.from + by, this.view.to + by); }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => { this.pending = false; this.view.paint(); });
  }

  resize() {
    this.view.layout();
    this.view.resize($('scroll').clientWidth, $('scroll').clientHeight);
    this.stops();
    this.draw(); this.drawList();
  }

  // A place for Tab to stop at each lane: it filters the list by it.
  stops() {
    $('stops').replaceChildren(...this.view.lanes.map((lane) => {
      const stop = document.createElement('button');
      stop.textContent = lane.name;
      stop.style.top = `${lane.y}px`; stop.style.height = `${lane.height}px`;
      stop.onclick = () => this.search(lane.kind === 'lease' ? `lease:${lane.lease.id}` : lane.kind === 'member' ? `member:${lane.member.id}` : '');
      return stop;
    }));
  }

  search(query) { this.query = query; $('query').value = query; this.filter(); this.writeLink(); }

  filter() {
    const wanted = { words: [] };
    for (const part of this.query.toLowerCase().split(/\s+/).filter(Boolean)) {
      const field = /^(lease|member|kind):(.+)$/.exec(part);
      if (field) wanted[field[1]] = field[2].split(','); else wanted.words.push(part);
    }
    this.rows = this.model.events.filter((e) => {
      if (e.k === 'judge') return true;
      if (!this.inside && !wanted.kind && INSIDE.has(e.k)) return false;
      if (wanted.kind && !wanted.kind.includes(e.k)) return false;
      if (wanted.member && !wanted.member.includes(String(e.m))) return false;
      if (wanted.lease && !leasesOf(e).some((id) => wanted.lease.includes(String(id)))) return false;
      if (!wanted.words.length) return true;
      const said = `${e.k} ${words(e)}`.toLowerCase();
      return wanted.words.every((word) => said.includes(word));
    });
    $('count').textContent = `${this.rows.length.toLocaleString('en')} of ${this.model.events.length.toLocaleString('en')}`;
    this.spacer ??= $('list').appendChild(document.createElement('div'));
    this.spacer.style.height = `${this.rows.length * ROW}px`;
    this.drawList();
  }

  drawList() {
    const list = $('list'), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 3);
    const last = Math.min(this.rows.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 3);
    while (this.pool.length < last - first) {
      const row = document.createElement('div');
      row.setAttribute('role', 'option');
      row.onmouseenter = () => { this.view.hovered = row.event; this.draw(); };
      row.onmouseleave = () => { this.view.hovered = null; this.draw(); };
      row.onclick = () => this.select(row.event, true);
      list.append(row); this.pool.push(row);
    }
    this.pool.forEach((row, i) => {
      const e = this.rows[first + i];
      row.style.display = e && first + i < last ? '' : 'none';
      if (!e) return;
      row.event = e;
      row.style.top = `${(first + i) * ROW}px`;
      row.className = `row${e === this.view.selected ? ' sel' : ''}${e === this.view.hovered ? ' hover' : ''}${e.k === 'judge' ? ' bad' : ''}`;
      row.setAttribute('aria-selected', e === this.view.selected);
      row.textContent = `${seconds(e.t).padStart(9)} ${e.m ?? ' '} ${e.k.padEnd(8)} ${words(e)}`;
    });
  }

  reveal(e) {
    const list = $('list');
    let at = this.rows.indexOf(e);
    if (at < 0) at = lower(this.rows, e.t);
    const y = at * ROW;
    if (y < list.scrollTop || y > list.scrollTop + list.clientHeight - ROW) list.scrollTop = Math.max(0, y - list.clientHeight / 2);
    this.drawList();
  }

  select(e, centre) {
    this.view.selected = e;
    if (e) {
      const x = this.view.x(e.t);
      if (x < GUTTER + 30 || x > this.view.width - 30) {
        const half = (this.view.to - this.view.from) / 2;
        if (centre || x < GUTTER || x > this.view.width) this.show(e.t - half, e.t + half);
      }
      this.reveal(e);
    }
    this.showDetail(e);
    for (const step of document.querySelectorAll('.step')) step.classList.toggle('sel', e != null && step.dataset.n === String(e.n));
    this.draw(); this.drawList(); this.writeLink();
  }

  showDetail(e) {
    const detail = $('detail');
    detail.replaceChildren();
    if (!e) return;
    const head = document.createElement('div');
    head.innerHTML = '<b></b> <span></span>';
    head.firstChild.textContent = `${seconds(e.t)} s${e.m ? `, member ${e.m}` : ''}, ${e.k}`;
    head.lastChild.textContent = e.line ? `line ${e.line} of the scenario` : '';
    const said = document.createElement('code');
    said.textContent = words(e);
    detail.append(head, said);
    const causes = chain(this.model, e).slice(0, -1).reverse();
    if (causes.length) {
      const of = document.createElement('div');
      of.append('because of ');
      causes.forEach((cause, i) => {
        const link = document.createElement('a');
        link.textContent = `${cause.k} at ${seconds(cause.t)}`;
        link.onclick = () => this.select(cause, true);
        of.append(i ? ', of ' : '', link);
      });
      detail.append(of);
    }
  }

  // The next event of the list, or with `same` of the same lease or member.
  move(by, same) {
    const { selected } = this.view;
    const key = (e) => (leasesOf(e)[0] != null ? `l${leasesOf(e)[0]}` : `m${e.m}`);
    const rows = same && selected ? this.rows.filter((e) => key(e) === key(selected)) : this.rows;
    if (!rows.length) return;
    let at = selected ? rows.indexOf(selected) : -1;
    if (at < 0) at = lower(rows, selected?.t ?? this.view.from) - (by > 0 ? 1 : 0);
    this.select(rows[Math.max(0, Math.min(rows.length - 1, at + by))], true);
  }

  // The next turn of events: a fault, a role, a violation.
  jump(by) {
    const t = this.view.selected?.n ?? 0;
    const turns = this.model.events.filter((e) => ['effect', 'role', 'log', 'process', 'over', 'judge'].includes(e.k));
    const next = by > 0 ? turns.find((e) => e.n > t) : turns.filter((e) => e.n < t).pop();
    if (next) this.select(next, true);
  }

  cause() { const { selected } = this.view; if (selected?.c) this.select(this.model.byN.get(selected.c), true); }

  flip() {
    const root = document.documentElement;
    root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
    this.resize(); this.writeLink();
  }

  addLane(id) {
    if (!this.model.leases.has(id) || this.view.shownLeases.includes(id)) return;
    this.view.shownLeases.push(id);
    this.resize(); this.writeLink();
  }

  help() {
    const help = $('help');
    help.hidden = !help.hidden;
    if (help.hidden) return;
    help.innerHTML = '<h2>Keys</h2><dl></dl><p class="dim">The wheel zooms, with Shift it pans; drag pans; a double click zooms in. Esc closes this.</p>';
    const list = help.querySelector('dl');
    for (const [keys, what] of KEYS) {
      const key = document.createElement('dt'), text = document.createElement('dd');
      key.textContent = keys; text.textContent = what;
      list.append(key, text);
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.id === 'query') { if (event.key === 'Escape') event.target.blur(); return; }
    const actions = {
      w: () => this.zoom(0.7), '+': () => this.zoom(0.7), '=': () => this.zoom(0.7), s: () => this.zoom(1 / 0.7), '-': () => this.zoom(1 / 0.7),
      a: () => this.pan(-0.2), d: () => this.pan(0.2), ArrowLeft: () => this.pan(-0.1), ArrowRight: () => this.pan(0.1),
      0: () => this.show(0, this.model.end), v: () => this.toViolation(),
      j: () => this.move(1), k: () => this.move(-1), ArrowDown: () => this.move(1), ArrowUp: () => this.move(-1),
      n: () => this.move(1, true), p: () => this.move(-1, true), ']': () => this.jump(1), '[': () => this.jump(-1), c: () => this.cause(),
      m: () => $('messages').click(), i: () => $('inside').click(), t: () => this.flip(), '/': () => $('query').focus(), '?': () => this.help(),
      Escape: () => { $('help').hidden = true; this.select(null); },
    };
    const action = actions[event.key];
    if (action) { event.preventDefault(); action(); }
  }

  listen() {
    const { view } = this, lanes = $('lanes');
    addEventListener('resize', () => this.resize());
    document.addEventListener('keydown', (event) => this.key(event));
    $('to-violation').onclick = () => this.toViolation();
    $('to-all').onclick = () => this.show(0, this.model.end);
    $('theme').onclick = () => this.flip();
    $('keys').onclick = () => this.help();
    $('query').oninput = (event) => { this.query = event.target.value; this.filter(); this.writeLink(); };
    $('inside').onchange = (event) => { this.inside = event.target.checked; this.filter(); this.writeLink(); };
    $('messages').onchange = (event) => { view.showMessages = event.target.checked; this.draw(); };
    $('add-lane').onchange = (event) => { this.addLane(event.target.value); event.target.value = ''; };
    $('list').onscroll = () => this.drawList();
    $('scroll').addEventListener('wheel', (event) => {
      if (event.ctrlKey) return;
      event.preventDefault();
      const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (sideways) this.pan((event.deltaX || event.deltaY) / view.width); else this.zoom(1.0015 ** event.deltaY, event.offsetX);
    }, { passive: false });
    let drag = null;
    lanes.onpointerdown = (event) => { drag = { x: event.clientX, from: view.from, to: view.to, moved: false }; lanes.setPointerCapture?.(event.pointerId); };
    lanes.onpointermove = (event) => {
      if (drag) {
        const by = (drag.x - event.clientX) / (view.width - GUTTER) * (drag.to - drag.from);
        drag.moved ||= Math.abs(drag.x - event.clientX) > 3;
        if (drag.moved) this.show(drag.from + by, drag.to + by);
        return;
      }
      view.cursor = event.offsetX > GUTTER ? view.time(event.offsetX) : null;
      view.hovered = view.hit(event.offsetX, event.offsetY);
      this.tip(event, view.hovered);
      if (view.hovered) this.reveal(view.hovered);
      this.draw();
    };
    lanes.onpointerup = (event) => {
      if (drag && !drag.moved) { const e = view.hit(event.offsetX, event.offsetY); if (e) this.select(e); }
      drag = null;
    };
    lanes.onpointerleave = () => { view.cursor = view.hovered = null; this.tip(null); this.draw(); };
    lanes.ondblclick = (event) => this.zoom(0.25, event.offsetX);
    const seek = (event) => {
      if (event.type === 'pointermove' && !event.buttons) return;
      const t = (event.offsetX - GUTTER) / (view.width - GUTTER) * this.model.end, half = (view.to - view.from) / 2;
      this.show(t - half, t + half);
    };
    $('overview').onpointerdown = $('overview').onpointermove = seek;
  }

  tip(event, e) {
    const tip = $('tip');
    tip.style.display = e ? 'block' : 'none';
    if (!e) return;
    tip.textContent = `${seconds(e.t)} s${e.m ? `  member ${e.m}` : ''}  ${e.k}\n${words(e).slice(0, 300)}`;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - 480)}px`;
    tip.style.top = `${Math.min(event.clientY + 14, innerHeight - 120)}px`;
  }

  // All that is looked at is in the link, so that it can be given to somebody.
  writeLink() {
    clearTimeout(this.writing);
    this.writing = setTimeout(() => {
      const { view } = this, link = new URLSearchParams();
      link.set('view', `${(view.from / SECOND).toFixed(6)},${(view.to / SECOND).toFixed(6)}`);
      if (view.selected) link.set('n', view.selected.n);
      if (this.query) link.set('q', this.query);
      if (this.inside) link.set('inside', 1);
      if (view.shownLeases.join() !== firstLeases(this.model).join()) link.set('lanes', view.shownLeases.join());
      if (document.documentElement.dataset.theme) link.set('theme', document.documentElement.dataset.theme);
      history.replaceState(null, '', `#${link}`);
    }, 200);
  }

  readLink() {
    const link = new URLSearchParams(location.hash.slice(1)), root = document.documentElement;
    root.dataset.theme = link.get('theme') ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
    this.query = $('query').value = link.get('q') ?? '';
    this.inside = $('inside').checked = link.has('inside');
    for (const id of (link.get('lanes') ?? '').split(',')) if (this.model.leases.has(id) && !this.view.shownLeases.includes(id)) this.view.shownLeases.push(id);
    queueMicrotask(() => {
      const [from, to] = (link.get('view') ?? '').split(',').map((t) => Number(t) * SECOND);
      if (to > from) this.show(from, to); else this.toViolation();
      const selected = this.model.byN.get(Number(link.get('n'))) ?? (link.has('view') ? null : this.violation);
      if (selected) { this.view.selected = selected; this.showDetail(selected); this.reveal(selected); }
    });
  }
}

const KEYS = [
  ['w, s', 'zoom in, out'], ['a, d, ←, →', 'pan'], ['0', 'the whole run'], ['v', 'to the violation'],
  ['j, k, ↓, ↑', 'the next, the last event of the list'], ['n, p', 'the next, the last of the same lease or member'],
  ['], [', 'the next, the last fault, role or violation'], ['c', 'to the cause of what is selected'],
  ['m', 'messages'], ['i', 'what is inside: inputs, outputs, messages, disk'], ['/', 'filter'], ['t', 'light or dark'], ['Tab', 'from lane to lane; Enter filters by it'], ['?', 'this'],
];

async function load() {
  const packed = Uint8Array.from(atob($('data').textContent.trim()), (c) => c.charCodeAt(0));
  $('data').remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).text();
}

(async () => {
  const began = performance.now(), tries = location.hash.includes('selftest=');
  let loaded = false;
  // A browser that only dumps the page lets its time run on while nothing seems to happen.
  if (tries) stayBusy(() => loaded);
  const page = new Page(readModel(await load()));
  loaded = true;
  page.view.paint();
  const opened = performance.now() - began;
  document.documentElement.dataset.ready = '1';
  if (tries) selftest(page, opened);
})().catch((error) => { document.body.textContent = `This picture cannot be drawn: ${error.stack}`; });
