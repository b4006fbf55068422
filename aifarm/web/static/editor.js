/** What people say about a task, edited in place: title, project, tags and notes. */

import { h } from "./dom.js";

/** @typedef {import("./types").Task} Task */

/**
 * @param {import("./farm.js").Farm} farm @param {Task} task
 * @param {(changed: Task | null) => void} ondone with the task as it is then, or null
 */
export function editor(farm, task, ondone) {
  const fields = {
    title: h("input", { class: "af-input", value: task.title ?? "" }),
    project: h("input", { class: "af-input", value: task.project ?? "" }),
    tags: h("input", { class: "af-input", value: task.tags.join(" "), placeholder: "words, apart by spaces" }),
    notes: h("textarea", { class: "af-input", rows: 2 }, task.notes ?? ""),
  };
  const complaint = h("p", { class: "af-complaint", role: "alert" });
  const text = (/** @type {keyof typeof fields} */ name) => /** @type {HTMLInputElement} */ (fields[name]).value.trim();

  async function save() {
    complaint.textContent = "";
    for (const field of Object.values(fields)) field.removeAttribute("aria-invalid");
    try {
      const tags = text("tags").split(/[\s,]+/).filter(Boolean);
      ondone(
        await farm.send("PATCH", `/tasks/${task.id}`, {
          title: text("title") || null,
          project: text("project") || null,
          tags,
          notes: text("notes") || null,
        }),
      );
    } catch (error) {
      const { message, details } = /** @type {import("./farm.js").FarmError} */ (error);
      const name = /** @type {keyof typeof fields} */ (String(details?.field ?? "").split("[")[0]);
      fields[name]?.setAttribute("aria-invalid", "true");
      fields[name]?.focus();
      complaint.textContent = message;
    }
  }

  const element = h(
    "form",
    {
      class: "af-editor",
      "aria-label": "Edit task",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        save();
      },
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        event.stopPropagation(); // in Lab a key means something else
        if (event.key === "Escape") ondone(null);
      },
    },
    Object.entries(fields).map(([name, field]) => h("label", {}, h("span", {}, name), field)),
    complaint,
    h(
      "div",
      { class: "af-row" },
      h("button", { type: "submit", class: "af-button af-primary" }, "Save"),
      h("button", { type: "button", class: "af-button", onclick: () => ondone(null) }, "Cancel"),
    ),
  );
  return { element, focus: () => fields.title.focus() };
}
