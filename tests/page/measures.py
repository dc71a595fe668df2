"""What can be measured of a page: contrast, width, movement."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

# WCAG 2.2, relative luminance and contrast ratio; backgrounds are those of the nearest opaque ancestor.
_CONTRASTS = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const rgb = (text) => ({ channels: numbers(text).slice(0, 3), alpha: numbers(text)[3] ?? 1 });
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = ({ channels }) => channels.map((c) => linear(c / 255)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const own = rgb(getComputedStyle(element).backgroundColor);
    return own.alpha === 1 || !element.parentElement ? own : behind(element.parentElement);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest(".unseen, noscript, option, :disabled")) continue;
    const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found;
}"""
_SHIFTS = """() => { window.shifts = []; new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map((entry) => entry.value)))
  .observe({ type: "layout-shift" }); }"""
_SETTLED = "() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 50))))"


def weak_contrasts(page: "Page") -> list[Any]:
    """Texts that are seen and stand out by less than 4.5:1."""
    measured = page.evaluate(_CONTRASTS)
    assert measured
    return [one for one in measured if one[0] < 4.5]


def is_wider_than_its_window(page: "Page") -> bool:
    return bool(page.evaluate("() => document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def watch_shifts(page: "Page") -> None:
    """Sum up from now on what moves by itself, those moves too that come soon after a key."""
    page.evaluate(_SHIFTS)


def shifted(page: "Page") -> float:
    """The sum of the layout shift scores; 0.1 is what the Web Vitals call good."""
    page.evaluate(_SETTLED)
    return float(page.evaluate("() => window.shifts.reduce((sum, value) => sum + value, 0)"))
