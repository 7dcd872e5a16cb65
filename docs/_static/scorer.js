// The page whose title has the words that are asked for comes first: Sphinx takes a word in any heading for as much.
var Scorer = {
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
  score: (result) => {
    const words = (new URLSearchParams(window.location.search).get("q") || "").toLowerCase().split(/\s+/);
    const title = result[1].toLowerCase();
    return result[4] + (20 * words.filter((word) => title.includes(word)).length) / words.length;
  },
};
