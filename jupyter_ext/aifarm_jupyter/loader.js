/**
 * What a widget runs in the browser: it fetches the front end from the Jupyter server that the page
 * is of, and talks to the farm through that, not through the kernel. Where there is no such server
 * in reach, it shows what the kernel sends.
 */

function base() {
  const config = document.getElementById("jupyter-config-data");
  const told = config && JSON.parse(config.textContent).baseUrl;
  return new URL(told ?? document.body.dataset.baseUrl ?? "/", location.href).href;
}

function xsrf() {
  const cookie = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie);
  return cookie ? { "X-XSRFToken": decodeURIComponent(cookie[1]) } : {};
}

// One farm, one socket, for all widgets of a page, in this version of the front end.
async function shared(root) {
  const pages = (window.__aifarm ??= new Map());
  if (!pages.has(root)) pages.set(root, reach(root));
  try {
    return await pages.get(root);
  } catch (error) {
    pages.delete(root);
    throw error;
  }
}

async function reach(root) {
  const answer = await fetch(`${root}/info`, { headers: xsrf(), credentials: "same-origin" });
  if (!answer.ok) throw new Error(`The extension answered ${answer.status}.`);
  for (const sheet of ["vendor/uplot.css", "style.css"]) {
    const href = `${root}/static/${sheet}`;
    if (!document.querySelector(`link[href="${href}"]`))
      document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  }
  const [{ Farm }, { widgetView }] = await Promise.all([
    import(`${root}/static/farm.js`),
    import(`${root}/static/widget.js`),
  ]);
  return { farm: new Farm({ base: root, headers: xsrf() }), widgetView };
}

function plain(model, el) {
  const show = () => (el.innerHTML = model.get("html")); // the kernel's own text, escaped there
  model.on("change:html", show);
  model.send({ type: "alone" });
  show();
}

export default {
  async render({ model, el }) {
    const life = new AbortController();
    try {
      const { farm, widgetView } = await shared(`${base()}aifarm`);
      widgetView(farm, el, model, life.signal);
    } catch {
      plain(model, el);
    }
    return () => life.abort();
  },
};
