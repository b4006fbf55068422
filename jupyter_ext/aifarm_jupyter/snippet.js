/** Python to read, with a button that copies it. */

export default {
  render({ model, el }) {
    const code = document.createElement("code");
    const block = document.createElement("pre");
    const button = document.createElement("button");
    Object.assign(block, { tabIndex: 0 });
    block.style.cssText = "margin:0 0 0.5em;overflow:auto;padding:0.6em;background:var(--jp-layout-color2,#f5f7f9)";
    Object.assign(button, { type: "button", className: "jupyter-button widget-button", textContent: "Copy" });
    block.append(code);
    el.replaceChildren(block, button);

    const show = () => {
      code.textContent = model.get("text") || "# once the form is filled in";
      button.disabled = !model.get("text");
      button.textContent = "Copy";
    };
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        // Without HTTPS a page may not: what is selected can be copied by hand.
        getSelection()?.selectAllChildren(code);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
    model.on("change:text", show);
    show();
    return () => model.off("change:text", show);
  },
};
