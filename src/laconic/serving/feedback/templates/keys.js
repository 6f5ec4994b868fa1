"use strict";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const choice = [...document.querySelectorAll("input[data-key]")].find((input) => input.dataset.key === event.key);
  if (choice) {
    choice.click();
    choice.focus();
    event.preventDefault();
  } else if (event.key === "Enter" && event.target === document.body) {
    document.getElementById("answer")?.requestSubmit();
  }
});
