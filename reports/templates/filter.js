(function () {
  var box = document.getElementById("filter"), said = document.getElementById("found");
  var rows = Array.from(document.querySelectorAll("tr.team")), months = Array.from(document.querySelectorAll("section.month"));
  document.querySelector(".filter").hidden = false;
  box.addEventListener("input", function () {
    var words = box.value.toLowerCase().split(/\s+/).filter(Boolean), found = 0;
    rows.forEach(function (row) {
      var text = (row.textContent + " " + row.dataset.month).toLowerCase();
      row.hidden = !words.every(function (word) { return text.includes(word); });
      if (!row.hidden) { found += 1; }
    });
    months.forEach(function (month) { month.hidden = words.length > 0 && !month.querySelector("tr.team:not([hidden])"); });
    said.textContent = words.length ? found + (found === 1 ? " statement" : " statements") : "";
  });
})();
