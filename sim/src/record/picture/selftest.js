// With #selftest=1 the page tries itself, and writes its verdict where --dump-dom finds it.

function selftest(page, opened) {
  const { view, model } = page, lines = [];
  const check = (holds, what) => lines.push(`${holds ? 'ok' : 'FAILED'} ${what}`);
  const press = (key) => document.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  const wide = () => view.to - view.from;

  check(model.events.every((e, i) => e.n === i + 1), 'no line is missing');
  check(model.events.every((e) => !e.c || e.c < e.n), 'every cause is before its event');
  check(model.events[model.events.length - 1].hash === model.header.hash, 'the hash of the end is that of the header');
  press('0'); check(wide() >= model.end, '0 shows the whole run');
  const all = wide(); press('w'); check(wide() < all, 'w zooms in');
  const from = view.from; press('d'); check(view.from > from, 'd pans');
  press('Escape'); check(view.selected === null, 'Escape selects nothing');
  press('j'); check(view.selected !== null, 'j selects');
  const first = view.selected; press('j'); press('k'); check(view.selected === first, 'j and k are opposites');
  press('['); press(']'); check(view.selected !== null, '] selects a turn of events');
  const caused = model.events.find((e) => e.c); page.select(caused, true); press('c');
  check(view.selected?.n === caused.c, 'c goes to the cause');
  press('?'); check(!document.getElementById('help').hidden, '? shows the keys'); press('Escape');
  const theme = document.documentElement.dataset.theme; press('t');
  check(document.documentElement.dataset.theme !== theme, 't changes the theme');
  view.paint(); check(drawn(view), 'something is drawn in the other theme'); press('t');
  page.search('kind:role'); check(page.rows.every((e) => e.k === 'role' || e.k === 'judge') && page.rows.length > 0, 'kind: filters');
  page.search(''); check(page.rows.length > 0, 'without a filter there are rows');
  page.show(0, model.end); view.paint(); check(drawn(view), 'something is drawn');
  check(view.lanes.every((lane) => lane.height > 0), 'every lane has a height');
  check(document.querySelectorAll('#stops button').length === view.lanes.length, 'Tab stops at every lane');
  const lane = view.lanes.find((of) => of.kind === 'member' && of.events.length), e = lane.events[0];
  check(view.hit(view.x(e.t), view.place(e)) !== null, 'a point of a lane is an event');
  if (model.violations.length) {
    press('v');
    const stories = document.querySelectorAll('#story .step').length;
    check(stories > 1, `the story has ${stories} steps`);
    check(page.story.some((of) => view.x(of.t) >= GUTTER && view.x(of.t) <= view.width), 'v shows some of the story');
  }
  // Of use only where the browser's time is real: without a budget of virtual time.
  const frames = [];
  for (let i = 0; i < 20; i++) { page.zoom(i < 10 ? 0.8 : 1.25); const began = performance.now(); view.paint(); frames.push(performance.now() - began); }
  frames.sort((a, b) => a - b);
  lines.push(`${model.events.length} events, ${innerWidth}×${innerHeight}: opened in ${opened.toFixed(0)} ms, a frame takes ${frames[10].toFixed(1)} ms in the median, ${frames[19].toFixed(1)} ms at most`);
  const verdict = document.createElement('pre');
  verdict.id = 'selftest';
  verdict.textContent = `${lines.join('\n')}\n${lines.some((line) => line.startsWith('FAILED')) ? 'SELFTEST FAILED' : 'SELFTEST PASSED'}`;
  document.body.append(verdict);
}

// Has something to do until this holds.
async function stayBusy(done) {
  const { port1, port2 } = new MessageChannel();
  while (!done()) await new Promise((next) => { port1.onmessage = next; port2.postMessage(0); });
}

// Whether the lanes have more than one colour.
function drawn(view) {
  const { width, height } = view.canvases.lanes;
  const pixels = view.canvases.lanes.getContext('2d').getImageData(0, 0, width, height).data;
  let others = 0;
  for (let i = 0; i < pixels.length; i += 4 * 97) if (pixels[i] !== pixels[0] || pixels[i + 1] !== pixels[1]) others += 1;
  return others > 200;
}
