/**
 * What a widget runs in the browser: it fetches the front end from the Jupyter server that the page
 * is of, and talks to the farm through that, not through the kernel. Where that server has no
 * extension, or another farm, both come by way of the kernel. Until then it shows a still picture.
 */

const SHEETS = ["vendor/uplot.css", "style.css"];

function base() {
  const config = document.getElementById("jupyter-config-data");
  const told = config && JSON.parse(config.textContent).baseUrl;
  return new URL(told ?? document.body.dataset.baseUrl ?? "/", location.href).href;
}

function xsrf() {
  const cookie = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie);
  return cookie ? { "X-XSRFToken": decodeURIComponent(cookie[1]) } : {};
}

// What is made once for all widgets of a page, in this version of the front end.
async function shared(key, make) {
  const known = (window.__aifarm ??= new Map());
  if (!known.has(key)) known.set(key, make());
  try {
    return await known.get(key);
  } catch (error) {
    known.delete(key);
    throw error;
  }
}

/** The farm of the page's own server, and the address that this has it at. */
async function reach(root) {
  const answer = await fetch(`${root}/info`, { headers: xsrf(), credentials: "same-origin" });
  if (!answer.ok) throw new Error(`The extension answered ${answer.status}.`);
  const { url } = await answer.json();
  for (const sheet of SHEETS) {
    const href = `${root}/static/${sheet}`;
    if (!document.querySelector(`link[href="${href}"]`))
      document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  }
  const [{ Farm }, { widgetView }] = await Promise.all([
    import(`${root}/static/farm.js`),
    import(`${root}/static/widget.js`),
  ]);
  return { farm: new Farm({ base: root, headers: xsrf() }), widgetView, url };
}

/** The front end as text from the kernel. */
async function brought(model) {
  const files = await new Promise((resolve) => {
    const heard = (message) => {
      if (message.type !== "front") return;
      model.off("msg:custom", heard);
      resolve(message.files);
    };
    model.on("msg:custom", heard);
    model.send({ type: "front" });
  });
  for (const sheet of SHEETS)
    document.head.append(Object.assign(document.createElement("style"), { textContent: files[sheet] }));
  const urls = new Map();
  // A module's text names its neighbours: each in turn becomes an address of its own.
  const url = (name) => {
    if (!urls.has(name)) {
      const text = files[name].replace(/(\bfrom\s*)"\.\/([^"]+)"/g, (_, from, other) => `${from}"${url(other)}"`);
      urls.set(name, URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    }
    return urls.get(name);
  };
  const [{ kernelFarm }, { widgetView }] = await Promise.all([import(url("kernel.js")), import(url("widget.js"))]);
  return { kernelFarm, widgetView };
}

export default {
  async render({ model, el }) {
    const life = new AbortController();
    el.innerHTML = model.get("html"); // the kernel's own text, escaped there
    const show = async () => {
      const root = `${base()}aifarm`;
      try {
        const { farm, widgetView, url } = await shared(root, () => reach(root));
        if (url === model.get("url")) return widgetView(farm, el, model, life.signal);
      } catch {
        // no extension here: the kernel's way
      }
      const { kernelFarm, widgetView } = await shared("kernel", () => brought(model));
      if (!life.signal.aborted) widgetView(kernelFarm(model, life.signal), el, model, life.signal);
    };
    show();
    return () => life.abort();
  },
};
