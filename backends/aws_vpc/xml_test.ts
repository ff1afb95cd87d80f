import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { CHARACTER } from "../../mod/text/testing/character.ts";
import { parseXml, XmlElement, XmlError } from "./xml.ts";

/** As EC2 writes an answer: a declaration, a name space, white space between elements. */
const ANSWER = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeRouteTablesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r-1</requestId>
  <!-- a comment -->
  <routeTableSet>
    <item><routeTableId>rtb-1</routeTableId><routeSet/></item>
    <item>
      <routeTableId>rtb-2</routeTableId>
      <tagSet><item><key>a&amp;b</key><value>&#x41;&lt;&quot;<![CDATA[<&>]]></value></item></tagSet>
    </item>
  </routeTableSet>
</DescribeRouteTablesResponse>
`;

Deno.test("parseXml() reads an answer of EC2", () => {
  const root = parseXml(ANSWER);
  assertEquals(root.name, "DescribeRouteTablesResponse");
  assertEquals(root.value("requestId"), "r-1");
  const [first, second] = root.items("routeTableSet");
  assertEquals(first!.value("routeTableId"), "rtb-1");
  assertEquals(first!.items("routeSet"), []);
  assertEquals(first!.items("nothing"), []);
  const [tag] = second!.items("tagSet");
  assertEquals([tag!.value("key"), tag!.value("value")], ["a&b", 'A<"<&>']);
  assertEquals(root.value("routeTableSet", "item", "routeTableId"), "rtb-1");
  assertEquals(root.value("nextToken"), undefined);
});

Deno.test("parseXml() refuses what is no such document", () => {
  const texts = [
    "",
    "text",
    "<a>",
    "<a></b>",
    "<a/><b/>",
    "<a>&nbsp;</a>",
    "<a>& b</a>",
    "<a>&#0;</a>",
    "<a>&#xD800;</a>",
    "<a b=c/>",
    "<a b='<'/>",
    "<a><!-- </a>",
    "<a><![CDATA[</a>",
    "<1/>",
    "<a><?php ?></a>",
    '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    '<a><!DOCTYPE a SYSTEM "file:///etc/passwd"></a>',
    "<a>".repeat(100) + "</a>".repeat(100),
  ];
  for (const text of texts) assertThrows(() => parseXml(text), XmlError, undefined, text);
});

const NAME = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_.-]{0,8}$/);
const TEXT = fc.string({ unit: CHARACTER }).map((text) =>
  // deno-lint-ignore no-control-regex -- those that XML 1.0 has no way to write
  text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]/g, "")
);
const { tree: TREE } = fc.letrec<{ tree: XmlElement }>((tie) => ({
  tree: fc.tuple(
    NAME,
    fc.oneof({ maxDepth: 5 }, fc.constant([]), fc.array(tie("tree"), { maxLength: 3 })),
    TEXT,
  ).map(([name, children, text]) => new XmlElement(name, children, text)),
}));

function write({ name, children, text }: XmlElement): string {
  const escaped = text.replace(/[&<>\r]/g, (character) => `&#${character.charCodeAt(0)};`);
  return `<${name} xmlns="urn:x">${escaped}${children.map(write).join("")}</${name}>`;
}

Deno.test("parseXml() reads back every tree that was written", () => {
  fc.assert(fc.property(TREE, (tree) => {
    assertEquals(parseXml(write(tree)), tree);
  }));
});

Deno.test("parseXml() refuses every document that was cut", () => {
  fc.assert(fc.property(TREE, fc.nat(), (tree, at) => {
    const text = write(tree);
    assertThrows(() => parseXml(text.slice(0, at % text.length)), XmlError);
  }));
});

Deno.test("parseXml() throws nothing but XmlError, whatever the text", () => {
  const pieces = fc.constantFrom(
    "<",
    ">",
    "/",
    "&",
    ";",
    "a",
    "<a>",
    "</a>",
    "<!--",
    "-->",
    "<![CDATA[",
  );
  fc.assert(fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
    try {
      parseXml(parts.join(""));
    } catch (error) {
      assert(error instanceof XmlError, String(error));
    }
  }));
});
