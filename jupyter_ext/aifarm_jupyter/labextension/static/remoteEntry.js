/**
 * The door to JupyterLab: a federated module written by hand, with no build.
 *
 * Lab loads this file as a script and asks the container below for "./extension". What Lab shares
 * (Lumino, its own packages) comes from its share scope; everything else is an ES module beside
 * this file or of the farm's front end.
 */
(() => {
  const here = new URL(".", document.currentScript.src);
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
      const { plugin } = await import(new URL("panel.js", here).href);
      const made = await plugin(shared);
      return () => ({ __esModule: true, default: made });
    },
  };
})();
