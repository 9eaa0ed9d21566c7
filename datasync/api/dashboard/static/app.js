// What pages need beyond HTMX: the theme, times that grow older, questions and answers on top.
"use strict";

(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];

  function useTheme(theme) {
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.dataset.theme = theme;
    const button = document.querySelector("[data-theme-button]");
    if (button) button.title = `Colours: ${theme}`;
  }
  let theme = localStorage.getItem("datasync-theme") || "auto";
  useTheme(theme);

  // Times are told in full by the server; here they become "3 min ago", and stay true.
  const units = [["day", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  function ago(seconds) {
    if (seconds < 5) return "just now";
    const [unit, size] = units.find(([, size]) => seconds >= size);
    const count = Math.floor(seconds / size);
    return `${count} ${unit}${unit === "day" && count > 1 ? "s" : ""} ago`;
  }
  function tellTimes(within) {
    for (const time of within.querySelectorAll("time[data-ago]")) {
      const then = Date.parse(time.dateTime);
      time.textContent = ago(Math.max(0, (Date.now() - then) / 1000));
      time.title = new Date(then).toLocaleString();
    }
  }
  setInterval(() => tellTimes(document), 5000);

  function say(text, tone) {
    const toast = document.createElement("div");
    toast.className = `toast tone-${tone}`;
    toast.setAttribute("role", tone === "bad" ? "alert" : "status");
    toast.textContent = text;
    document.querySelector(".toasts").append(toast);
    setTimeout(() => toast.remove(), tone === "bad" ? 12000 : 6000);
  }

  document.addEventListener("DOMContentLoaded", () => {
    tellTimes(document);
    useTheme(theme);
    document.querySelector("[data-theme-button]")?.addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      localStorage.setItem("datasync-theme", theme);
      useTheme(theme);
      say(`Colours: ${theme === "auto" ? "as the system's" : theme}`, "busy");
    });
  });
  document.addEventListener("htmx:afterSwap", (event) => tellTimes(event.target));

  // A page whose stream is gone, or silent, must not go on as if it were true.
  const SILENCE = 40000; // milliseconds; the stream beats every 15 s
  let losing, silence;
  document.addEventListener("htmx:sseError", () => {
    losing ??= setTimeout(() => showLive(false), 5000);
  });
  document.addEventListener("htmx:sseOpen", (event) => {
    event.detail.source.addEventListener("beat", heard);
    silence ??= setTimeout(() => showLive(false), SILENCE); // it says something at once, if at all
  });
  document.addEventListener("htmx:sseMessage", () => {
    heard();
    tellTimes(document);
  });
  function heard() {
    clearTimeout(losing);
    clearTimeout(silence);
    losing = undefined;
    silence = setTimeout(() => showLive(false), SILENCE);
    showLive(true);
  }
  function showLive(live) {
    root.toggleAttribute("data-stale", !live);
    document.querySelector(".stale").hidden = live;
  }

  // Answers come as an event of their own, in a header, whatever part of the page changes.
  document.addEventListener("told", (event) => say(event.detail.text, event.detail.tone));
  document.addEventListener("htmx:sendError", () => say("The service does not answer.", "bad"));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.getResponseHeader("HX-Trigger")) return;
    say(`The service answered ${event.detail.xhr.status}.`, "bad");
  });

  // Questions before what cannot be undone at once.
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    const dialog = document.querySelector("dialog.question");
    const { elt, path, verb } = event.detail;
    dialog.querySelector("p").textContent = event.detail.question;
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue !== "yes") return;
        if (elt.isConnected) event.detail.issueRequest(true);
        // The part that it stood in was renewed meanwhile: its request is sent all the same.
        else htmx.ajax(verb, path, { source: document.body, swap: "none" });
      },
      { once: true },
    );
    dialog.showModal();
  });

  // "/" goes to the search field, as in the tools people know.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea, dialog")) return;
    const field = document.querySelector("input[type=search]");
    if (field) {
      event.preventDefault();
      field.focus();
    }
  });
})();
