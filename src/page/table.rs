//! Tables, whose cells may have a bar or a shade behind their numbers.

use super::escape::escaped;
use crate::report::table::{self, Align};

/// A cell.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    bar: Option<f64>,
    shade: Option<(Shade, f64)>,
    title: String,
}

/// What a cell's colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shade {
    Right,
    Wrong,
}

impl Cell {
    /// A cell with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// With a bar behind it that fills this part (0 to 1) of its width.
    pub fn bar(mut self, part: f64) -> Self {
        self.bar = Some(part.clamp(0.0, 1.0));
        self
    }

    /// Shaded as what shall be so, from 0, not at all, to 1.
    pub fn right(mut self, part: f64) -> Self {
        self.shade = Some((Shade::Right, part.clamp(0.0, 1.0)));
        self
    }

    /// Shaded as what shall not be so.
    pub fn wrong(mut self, part: f64) -> Self {
        self.shade = Some((Shade::Wrong, part.clamp(0.0, 1.0)));
        self
    }

    /// With more words, which show when the cell is pointed at.
    pub fn title(mut self, text: impl Into<String>) -> Self {
        self.title = text.into();
        self
    }

    fn html(&self, tag: &str) -> String {
        let mut classes: Vec<&str> = Vec::new();
        let mut style = String::new();
        if let Some(part) = self.bar {
            classes.push("bar");
            style = format!(" style=\"--part:{:.1}%\"", 100.0 * part);
        }
        if let Some((shade, part)) = self.shade.filter(|(_, part)| *part > 0.0) {
            classes.push(match shade {
                Shade::Right => "right",
                Shade::Wrong => "wrong",
            });
            style = format!(" style=\"--part:{:.0}%\"", 100.0 * part);
        }
        let class = match classes.is_empty() {
            true => String::new(),
            false => format!(" class=\"{}\"", classes.join(" ")),
        };
        let title = match self.title.is_empty() {
            true => String::new(),
            false => format!(" title=\"{}\"", escaped(&self.title)),
        };
        let name = tag.split(' ').next().unwrap_or(tag);
        format!(
            "<{tag}{class}{style}{title}>{}</{name}>",
            escaped(&self.text)
        )
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// A table with a caption. The first column says what its row is about.
#[derive(Clone, Debug)]
pub struct Table {
    caption: String,
    heads: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// Numbers of the columns that hold words.
    words: Vec<usize>,
    class: &'static str,
}

impl Table {
    /// A table of numbers with these columns.
    pub fn new<S: Into<String>>(caption: &str, columns: impl IntoIterator<Item = S>) -> Self {
        Self {
            caption: caption.to_owned(),
            heads: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            words: Vec::new(),
            class: "",
        }
    }

    /// The same table as one for the terminal.
    pub fn of(caption: &str, table: &table::Table) -> Self {
        let mut own = Self::new(caption, table.heads().map(|h| h.0));
        let words = table.heads().enumerate();
        own.words = words
            .filter(|(_, h)| h.1 == Align::Left)
            .map(|(k, _)| k)
            .collect();
        for row in table.rows() {
            own.row(row.clone());
        }
        own
    }

    /// Column `k` holds words, which stand to the left.
    pub fn words(mut self, k: usize) -> Self {
        self.words.push(k);
        self
    }

    /// Of many narrow columns, as a confusion matrix.
    pub fn dense(mut self) -> Self {
        self.class = " class=\"dense\"";
        self
    }

    /// Adds a row; missing cells stay empty, cells past the last column are dropped.
    pub fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) -> &mut Self {
        let mut row: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        row.resize(self.heads.len(), Cell::default());
        self.rows.push(row);
        self
    }

    pub(super) fn html(&self) -> String {
        let class = |k: usize| match k == 0 || self.words.contains(&k) {
            true => " class=\"words\"",
            false => "",
        };
        let caption = escaped(&self.caption);
        // Wide ones are scrolled, by keys too.
        let mut out = format!(
            "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table{}>\n\
             <caption>{caption}</caption>\n<thead><tr>",
            self.class
        );
        for (k, head) in self.heads.iter().enumerate() {
            out += &match head.is_empty() {
                true => "<td></td>".to_owned(),
                false => format!("<th scope=\"col\"{}>{}</th>", class(k), escaped(head)),
            };
        }
        out += "</tr></thead>\n<tbody>\n";
        for row in &self.rows {
            out += "<tr>";
            for (k, cell) in row.iter().enumerate() {
                out += &match k {
                    0 => cell.html("th scope=\"row\""),
                    _ if self.words.contains(&k) => cell.html("td data-words"),
                    _ => cell.html("td"),
                };
            }
            out += "</tr>\n";
        }
        out + "</tbody></table></div>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_their_bars_and_words() {
        let mut table = Table::new("c <1>", ["", "density"]);
        table.row([
            Cell::new("conv1"),
            Cell::new("0.70").bar(0.7).title("7 of 10"),
        ]);
        table.row(["short"]);
        let html = table.html();
        assert!(html.contains("<caption>c &lt;1&gt;</caption>"));
        assert!(html.contains("<th scope=\"row\">conv1</th>"));
        let cell = "<td class=\"bar\" style=\"--part:70.0%\" title=\"7 of 10\">0.70</td>";
        assert!(html.contains(cell), "{html}");
        assert!(html.contains("<th scope=\"row\">short</th><td></td></tr>"));
    }

    #[test]
    fn a_table_of_the_terminal_is_one_of_the_page() {
        let mut table = table::Table::new([("arm", Align::Left), ("mean", Align::Right)]);
        table.row(["A", "0.7"]);
        let html = Table::of("arms", &table).html();
        assert!(
            html.contains("<th scope=\"row\">A</th><td>0.7</td>"),
            "{html}"
        );
    }
}
