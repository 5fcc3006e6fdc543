(function () {
  "use strict";
  var SHOWN = 24;  // cards of a round before the reader asks for more
  var root = document.documentElement, themes = ["auto", "light", "dark"];
  function remembered() { try { return localStorage.getItem("report-theme"); } catch (e) { return null; } }
  function remember(theme) { try { localStorage.setItem("report-theme", theme); } catch (e) { /* private window */ } }
  function wear(theme) {
    if (theme === "auto") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", theme);
  }
  var theme = themes.indexOf(remembered()) > 0 ? remembered() : "auto";
  wear(theme);

  document.addEventListener("DOMContentLoaded", function () {
    var button = document.getElementById("theme");
    function name() { button.textContent = "Theme: " + theme; }
    button.hidden = false;
    name();
    button.addEventListener("click", function () {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      wear(theme); remember(theme); name();
    });

    var tools = document.querySelector(".tools");
    if (!tools) return;
    tools.hidden = false;
    var tabs = Array.from(tools.querySelectorAll("[role=tab]"));
    var batches = tabs.map(function (tab) { return document.getElementById(tab.getAttribute("aria-controls")); });
    var find = document.getElementById("find"), verdict = document.getElementById("verdict");
    var found = document.getElementById("found"), open = Math.min(1, tabs.length - 1);
    batches.forEach(function (batch, k) {
      batch.setAttribute("role", "tabpanel");
      batch.setAttribute("aria-labelledby", tabs[k].id);
      var rest = batch.querySelectorAll(".card").length - SHOWN;
      if (rest <= 0) return;
      var more = document.createElement("button");
      more.type = "button"; more.className = "more"; more.textContent = "Show the other " + rest;
      more.addEventListener("click", function () {
        batch.dataset.whole = "yes"; show();
        var next = batch.querySelectorAll(".card")[SHOWN];
        next.tabIndex = -1; next.focus();
      });
      batch.appendChild(more);
    });

    function show() {
      var words = find.value.trim().toLowerCase().split(/\s+/), kind = verdict.value, hits = 0;
      var searching = find.value.trim() !== "" || kind !== "";
      batches.forEach(function (batch, k) {
        var here = 0, whole = searching || batch.dataset.whole === "yes", more = batch.querySelector(".more");
        if (more) more.hidden = whole;
        batch.querySelectorAll(".card").forEach(function (card, place) {
          var fits = words.every(function (word) { return card.dataset.find.indexOf(word) >= 0; }) &&
            (kind === "" || card.dataset.verdict === kind);
          card.hidden = !fits || !(whole || place < SHOWN);
          if (fits) here += 1;
        });
        hits += here;
        batch.hidden = searching ? here === 0 : k !== open;
        tabs[k].setAttribute("aria-selected", String(!searching && k === open));
        tabs[k].tabIndex = k === open ? 0 : -1;
      });
      found.textContent = searching ? (hits === 1 ? "1 sample" : hits + " samples") + " in all rounds" : "";
    }
    function choose(k) { open = (k + tabs.length) % tabs.length; find.value = ""; verdict.value = ""; show(); }
    tabs.forEach(function (tab, k) {
      tab.addEventListener("click", function () { choose(k); });
      tab.addEventListener("keydown", function (event) {
        var to = { ArrowRight: k + 1, ArrowLeft: k - 1, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        choose(to);
        tabs[open].focus();
      });
    });
    find.addEventListener("input", show);
    verdict.addEventListener("change", show);
    document.addEventListener("play", function (event) {
      document.querySelectorAll("audio").forEach(function (other) { if (other !== event.target) other.pause(); });
    }, true);
    show();
  });
})();
