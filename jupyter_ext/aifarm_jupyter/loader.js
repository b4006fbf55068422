/**
 * What a widget runs in the browser: it fetches the front end from the Jupyter server that the page
 * is of, and talks to the farm through that, not through the kernel. Where that server has no
 * extension, or another farm, both come by way of the kernel. Until then it shows a still picture.
 */

const SHEETS = ["vendor/uplot.css", "style.css"];
const LOOK = 2000; // milliseconds between two looks at a farm that starts

function base() {
  const config = document.getElementById("jupyter-config-data");
  const told = config && JSON.parse(config.textContent).baseUrl;
  return new URL(told ?? document.body.dataset.baseUrl ?? "/", location.href).href;
}

// Each request reads it anew: a log-in in another tab renews the cookie.
const headers = {
  get "X-XSRFToken"() {
    const cookie = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie);
    return cookie ? decodeURIComponent(cookie[1]) : "";
  },
};

// What is made once for all widgets of a page, in this version of the front end.
const known = (window.__aifarm ??= new Map());

async function shared(key, make) {
  if (!known.has(key)) known.set(key, make());
  try {
    return await known.get(key);
  } catch (error) {
    known.delete(key);
    throw error;
  }
}

/** The address that the page's own server has its farm at, if it has one. */
async function address(root, signal) {
  for (;;) {
    const answer = await fetch(`${root}/info`, { headers: { ...headers }, credentials: "same-origin", signal });
    if (!answer.ok) throw new Error(`The extension answered ${answer.status}.`);
    const { state, url } = await answer.json();
    if (state !== "starting") return url;
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
}

/** The front end and the farm of the page's own server. */
async function served(root) {
  for (const sheet of SHEETS) {
    const href = `${root}/static/${sheet}`;
    if (!document.querySelector(`link[href="${href}"]`))
      document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  }
  const [{ Farm }, { widgetView }] = await Promise.all([
    import(`${root}/static/farm.js`),
    import(`${root}/static/widget.js`),
  ]);
  return { farm: new Farm({ base: root, headers }), widgetView };
}

/** The front end by way of a kernel: the widget's own is asked, until any has answered. */
async function brought(model, signal) {
  const files = known.has("kernel") ? null : await told(model, signal);
  return shared("kernel", () => made(files));
}

/** The front end as text from the widget's kernel. Rejects when it is no longer wanted. */
function told(model, signal) {
  return new Promise((resolve, reject) => {
    const heard = (message) => {
      if (message.type !== "front") return;
      model.off("msg:custom", heard);
      resolve(message.files);
    };
    model.on("msg:custom", heard);
    signal.addEventListener("abort", () => {
      model.off("msg:custom", heard);
      reject(signal.reason);
    });
    model.send({ type: "front" });
  });
}

/** The front end out of its files. */
async function made(files) {
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
      let front;
      try {
        if ((await address(root, life.signal)) === model.get("url")) front = await shared(root, () => served(root));
      } catch {
        // no extension here: the kernel's way
      }
      life.signal.throwIfAborted();
      if (!front) {
        const { kernelFarm, widgetView } = await brought(model, life.signal);
        front = { farm: kernelFarm(model, life.signal), widgetView };
      }
      life.signal.throwIfAborted();
      front.widgetView(front.farm, el, model, life.signal);
    };
    show().catch((error) => {
      if (!life.signal.aborted) throw error; // else it is no longer shown
    });
    return () => life.abort();
  },
};
