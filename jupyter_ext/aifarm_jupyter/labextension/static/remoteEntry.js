/**
 * The door to JupyterLab: a federated module written by hand, with no build.
 *
 * Lab loads this file as a script and asks the container below for "./extension". What Lab shares
 * (Lumino, its own packages) comes from its share scope, everything else from the farm's front end,
 * which the server extension serves: this file is copied at installation, and nothing else is.
 */
(() => {
  const { baseUrl } = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  let scope = null;

  /** A module that Lab shares, in the version that it has. */
  const shared = async (name) => {
    const versions = Object.values(scope[name] ?? {});
    if (!versions.length) throw new Error(`This JupyterLab does not share ${name}.`);
    return (await versions[0].get())();
  };

  /** What stands here where the front end does not come: one sentence that says what to do. */
  const missing = async (error) => {
    console.error(error);
    const { Notification } = await shared("@jupyterlab/apputils");
    // Lab cuts off what is longer than 140 characters.
    const words = "AI Farm: install or upgrade aifarm[jupyter] where the Jupyter server runs, and restart Jupyter.";
    // Before that nobody would see it.
    const activate = (app) => void app.restored.then(() => Notification.error(words, { autoClose: false }));
    return { id: "aifarm:panel", autoStart: true, activate };
  };

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.aifarm = {
    init: (shareScope) => {
      scope = shareScope;
    },
    get: async () => {
      const { href } = new URL(`${baseUrl}aifarm/static/lab.js`, location.href);
      const made = await import(href).then(({ plugin }) => plugin(shared)).catch(missing);
      return () => ({ __esModule: true, default: made });
    },
  };
})();
