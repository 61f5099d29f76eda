//! A page to look at: one HTML file that has its style, its script and its pictures in itself, and asks no network for
//! anything. Light, dark and on paper; on a phone and by keyboard.
//!
//! Everything that goes onto a page is escaped here, and nowhere else.
//!
//! ```
//! use dsd::page::{Curves, Page, Series, Table};
//! let mut page = Page::new("Two arms");
//! page.lead("What came out.");
//! page.section("Accuracy");
//! let mut table = Table::new("Mean of three seeds", ["arm", "accuracy"]);
//! table.row(["dense", "0.7102"]);
//! page.table(&table);
//! let series = Series::new("dense", vec![(0.0, 0.1), (100.0, 0.71)]);
//! page.curves(&Curves::new("Accuracy", "iteration", "accuracy").series(series));
//! let html = page.finish();
//! assert!(html.starts_with("<!doctype html>") && html.contains("<td>0.7102</td>"));
//! ```

mod curves;
mod escape;
mod histogram;
mod picture;
mod scale;
mod table;

pub use curves::{Band, Curves, Series};
pub use histogram::{Histogram, Panel};
pub use picture::{Picture, data_uri};
pub use table::{Cell, Table};

use crate::draw::forest::Forest;
use escape::escaped;
use std::fmt::Display;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Nothing may be loaded from anywhere: what is on the page is all there is.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// A page that is being written, from top to bottom.
#[derive(Clone, Debug)]
pub struct Page {
    title: String,
    /// The titles of the sections so far.
    sections: Vec<String>,
    head: String,
    body: String,
    /// Curves so far: each has a number of its own.
    plots: usize,
}

impl Page {
    /// An empty page of this title.
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            sections: Vec::new(),
            head: String::new(),
            body: String::new(),
            plots: 0,
        }
    }

    fn add(&mut self, html: impl Display) -> &mut Self {
        let to = match self.sections.is_empty() {
            true => &mut self.head,
            false => &mut self.body,
        };
        *to += &html.to_string();
        to.push('\n');
        self
    }

    /// A sentence under the title that says what the page is about.
    pub fn lead(&mut self, text: &str) -> &mut Self {
        self.add(format_args!("<p class=\"lead\">{}</p>", escaped(text)))
    }

    /// Begins a section; the page's contents name it.
    pub fn section(&mut self, title: &str) -> &mut Self {
        let number = self.sections.len() + 1;
        if number > 1 {
            self.add("</section>");
        }
        self.sections.push(title.to_owned());
        self.add(format_args!(
            "<section aria-labelledby=\"s{number}\">\n<h2 id=\"s{number}\">{}</h2>",
            escaped(title)
        ))
    }

    /// A heading within a section.
    pub fn heading(&mut self, title: &str) -> &mut Self {
        self.add(format_args!("<h3>{}</h3>", escaped(title)))
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.add(format_args!("<p>{}</p>", escaped(text)))
    }

    /// A paragraph in small letters: how something was made, what it leaves out.
    pub fn note(&mut self, text: &str) -> &mut Self {
        self.add(format_args!("<p class=\"note\">{}</p>", escaped(text)))
    }

    /// A few figures that shall be seen first: what each is, its value, and a word on it.
    pub fn facts<A: AsRef<str>>(&mut self, facts: &[[A; 3]]) -> &mut Self {
        let fact = |[what, value, word]: &[A; 3]| {
            format!(
                "<div><dt>{}</dt><dd><b>{}</b> <small>{}</small></dd></div>",
                escaped(what.as_ref()),
                escaped(value.as_ref()),
                escaped(word.as_ref())
            )
        };
        let all: Vec<String> = facts.iter().map(fact).collect();
        self.add(format_args!("<dl class=\"facts\">{}</dl>", all.join("\n")))
    }

    /// A table.
    pub fn table(&mut self, table: &Table) -> &mut Self {
        self.add(table.html())
    }

    /// Curves over a number, which can be zoomed and read off.
    pub fn curves(&mut self, curves: &Curves) -> &mut Self {
        self.plots += 1;
        let html = curves.html(self.plots);
        self.add(html)
    }

    /// Means with their errors, a row each.
    pub fn forest(&mut self, forest: &Forest) -> &mut Self {
        self.add(format_args!(
            "<figure class=\"wide\">{}</figure>",
            forest.inline()
        ))
    }

    /// A picture that is SVG already. Its text is taken as it is.
    pub fn svg(&mut self, svg: &str, caption: &str) -> &mut Self {
        let caption = escaped(caption);
        self.add(format_args!(
            "<figure class=\"wide\">{svg}<figcaption>{caption}</figcaption></figure>"
        ))
    }

    /// Histograms side by side, of one scale.
    pub fn histogram(&mut self, histogram: &Histogram) -> &mut Self {
        self.add(histogram.html())
    }

    /// Pictures with what is said of each.
    pub fn pictures(&mut self, pictures: &[Picture]) -> &mut Self {
        let all: Vec<String> = pictures.iter().map(Picture::html).collect();
        self.add(format_args!(
            "<ul class=\"pictures\">{}</ul>",
            all.join("\n")
        ))
    }

    /// Lines to be typed, or read as they are.
    pub fn code(&mut self, text: &str) -> &mut Self {
        self.add(format_args!(
            "<pre tabindex=\"0\"><code>{}</code></pre>",
            escaped(text)
        ))
    }

    /// What `fill` adds, folded away under `summary`.
    pub fn fold(&mut self, summary: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.add(format_args!(
            "<details><summary>{}</summary>",
            escaped(summary)
        ));
        fill(self);
        self.add("</details>")
    }

    /// Charts that `fill` adds, side by side where there is room.
    pub fn beside(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.add("<div class=\"beside\">");
        fill(self);
        self.add("</div>")
    }

    /// The text of the file.
    pub fn finish(&self) -> String {
        let title = escaped(&self.title);
        let link =
            |(k, name): (usize, &String)| format!("<a href=\"#s{}\">{}</a>", k + 1, escaped(name));
        let contents: Vec<String> = self.sections.iter().enumerate().map(link).collect();
        let nav = match contents.len() {
            0 | 1 => String::new(),
            _ => format!(
                "<nav aria-label=\"Contents\">{}</nav>\n",
                contents.join("\n")
            ),
        };
        let end = if contents.is_empty() {
            ""
        } else {
            "</section>\n"
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"generator\" content=\"dsd {}\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
             <header>\n<h1>{title}</h1>\n{}{nav}</header>\n<main>\n{}{end}</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            env!("CARGO_PKG_VERSION"),
            self.head,
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_escaped_and_nothing_is_loaded() {
        let mut page = Page::new("a <b> & \"c\"");
        page.lead("<script>alert(1)</script>");
        page.section("One & two").text("x < y");
        page.section("Three").code("dsd 'a' && b");
        let html = page.finish();
        assert!(html.contains("<title>a &lt;b&gt; &amp; &quot;c&quot;</title>"));
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_eq!(html.matches("<section").count(), 2);
        assert_eq!(html.matches("</section>").count(), 2);
        assert!(html.contains("<a href=\"#s2\">Three</a>"));
        assert!(!html.contains("http:") && !html.contains("https:"));
        assert_eq!(html.matches("<script>").count(), 1);
    }

    #[test]
    fn a_page_of_nothing_is_a_page() {
        let html = Page::new("none").finish();
        assert!(html.contains("<main>\n</main>") && !html.contains("section>"));
    }
}
