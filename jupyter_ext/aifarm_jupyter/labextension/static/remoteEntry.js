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

  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB.aifarm = {
    init: (shareScope) => {
      scope = shareScope;
    },
    get: async () => {
      const { plugin } = await import(new URL(`${baseUrl}aifarm/static/lab.js`, location.href).href);
      const made = await plugin(shared);
      return () => ({ __esModule: true, default: made });
    },
  };
})();
