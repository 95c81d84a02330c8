/**
 * Planar robots drawn from their joint positions: the same shapes as backflip/control/planar.py makes, which is where the
 * geometry comes from and why each thing stands where it stands. A test holds the two together.
 *
 * @typedef {{format: string, robot: string, dt: number, fps: number, qpos: number[][]}} PlanarClip
 * @typedef {["band", number, number, number, number, string] | ["line", number, number, number, number, number, string]
 *   | ["dot", number, number, number, string]} Shape pixels from the top left: edges; both ends and width; centre and radius
 */

import { FIGURES } from "./figures.js";

const SMOOTH = 12; // frames before and after over which the camera's way is averaged
const MARGIN = 0.15; // metres above the highest point of a clip

export const LIGHT = {
  sky: "#f4f7fb",
  post: "#e3e9f1",
  ground: "#d5dce6",
  tile: "#c3ccd9",
  edge: "#8290a3",
  outline: "#1d2733",
  near: ["#2f6fde", "#4f8bf0", "#7aaaf7", "#f0883e", "#6b7787"],
  far: ["#a3b7d9", "#b3c4e2", "#c4d2ea", "#e6c3a6", "#9aa4b1"],
  eye: "#ffffff",
};
export const DARK = {
  sky: "#151b24",
  post: "#1f2733",
  ground: "#2a3442",
  tile: "#36424f",
  edge: "#7d8a9a",
  outline: "#05080c",
  near: ["#5b95ff", "#7aabff", "#9dc2ff", "#ffa057", "#8794a5"],
  far: ["#3b4e70", "#455a7e", "#52678c", "#7a5a3f", "#59636f"],
  eye: "#0b0f15",
};

/** @type {WeakMap<object, Scene>} */
const scenes = new WeakMap();

/**
 * Draws one moment over the whole canvas, in the colours of the page around it.
 * @param {HTMLCanvasElement} canvas @param {PlanarClip} clip @param {number} frame
 */
export function drawPlanar(canvas, clip, frame) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const shown = Math.max(0, Math.min(clip.qpos.length - 1, Math.floor(frame)));
  const palette = isDark(canvas) ? DARK : LIGHT;
  for (const shape of sceneOf(clip).shapes(shown, canvas.width, canvas.height, palette)) paint(context, shape);
}

/** @param {PlanarClip} clip @returns {Scene} made once a clip */
export function sceneOf(clip) {
  let scene = scenes.get(clip);
  if (!scene) scenes.set(clip, (scene = new Scene(clip.robot, clip.qpos)));
  return scene;
}

/** A clip's robot at all its moments. */
export class Scene {
  /** @param {string} name @param {number[][]} qpos */
  constructor(name, qpos) {
    const figure = FIGURES[/** @type {keyof typeof FIGURES} */ (name)];
    if (!figure) throw new Error(`robot is ${name}; wanted one of ${Object.keys(FIGURES).join(", ")}`);
    if (!qpos.length || qpos.some((row) => row.length !== figure.coordinates || !row.every(Number.isFinite)))
      throw new Error(`qpos is not ${figure.coordinates} finite numbers a moment, as ${name} needs`);
    this.figure = figure;
    const poses = qpos.map((row) => pose(figure, row));
    this.ends = poses.map((parts) => figure.limbs.map((limb) => limb.ends.map((end) => fixed(parts[limb.part], end))));
    this.eye = poses.map((parts) => fixed(parts[figure.eye.part], figure.eye.at));
    const [side, up] = figure.follows;
    this.camera = smoothed(poses.map((parts) => parts[1])).map(([x, y]) => [side ? x : 0, up ? y : 0]);
    const [low, high] = figure.view;
    this.low = low;
    this.high = up ? high : Math.max(high, this.#top() + MARGIN);
  }

  #top() {
    const radii = this.figure.limbs.map((limb) => limb.radius);
    return Math.max(...this.ends.flatMap((limbs) => limbs.flatMap((ends, i) => ends.map((end) => end[1] + radii[i]))));
  }

  /** @param {number} frame @param {number} width @param {number} height @param {typeof LIGHT} palette @returns {Shape[]} */
  shapes(frame, width, height, palette) {
    const lens = new Lens(width, height, this.low, this.high, this.camera[frame]);
    const rim = Math.max(2, height / 100);
    const shapes = background(this.figure, lens, palette);
    this.figure.limbs.forEach((limb, i) => {
      const [[x0, y0], [x1, y1]] = this.ends[frame][i].map((end) => lens.place(end));
      const thick = 2 * limb.radius * lens.scale;
      const colour = (limb.far ? palette.far : palette.near)[limb.shade];
      shapes.push(["line", x0, y0, x1, y1, thick + rim, palette.outline], ["line", x0, y0, x1, y1, thick, colour]);
    });
    const [x, y] = lens.place(this.eye[frame]);
    shapes.push(["dot", x, y, this.figure.eye.radius * lens.scale, palette.eye]);
    return shapes;
  }
}

/** What part of the world a picture shows. */
class Lens {
  /** @param {number} width @param {number} height @param {number} low @param {number} high @param {number[]} camera */
  constructor(width, height, low, high, [side, up]) {
    this.scale = height / (high - low);
    this.width = width;
    this.height = height;
    this.place = (/** @type {number[]} */ [x, y]) => [width / 2 + this.scale * (x - side), height - this.scale * (y - up - low)];
    const half = width / 2 / this.scale;
    this.metres = range(Math.floor(side - half), Math.ceil(side + half));
    this.rows = range(Math.floor(up + low), Math.ceil(up + high));
  }
}

/** @param {number} first @param {number} last */
function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** @param {any} figure @param {Lens} lens @param {typeof LIGHT} palette @returns {Shape[]} */
function background(figure, lens, palette) {
  const rim = Math.max(1, lens.height / 240);
  /** @type {Shape[]} */
  const shapes = [["band", 0, 0, lens.width, lens.height, palette.sky]];
  for (const metre of lens.metres) {
    const [x] = lens.place([metre, 0]);
    shapes.push(["band", x - rim, 0, x + rim, lens.height, palette.post]);
  }
  if (figure.follows[1])
    for (const metre of lens.rows) {
      const [, y] = lens.place([0, metre]);
      shapes.push(["band", 0, y - rim, lens.width, y + rim, palette.post]);
    }
  if (figure.floor === null) return shapes;
  const [, top] = lens.place([0, figure.floor]);
  shapes.push(["band", 0, top, lens.width, lens.height, palette.ground]);
  for (const metre of lens.metres) {
    const [left] = lens.place([metre, 0]);
    shapes.push(["band", left, top, left + lens.scale / 2, lens.height, palette.tile]);
  }
  shapes.push(["band", 0, top, lens.width, top + 2 * rim, palette.edge]);
  return shapes;
}

/** Forward kinematics, as MuJoCo does it: each part's place and angle. @param {any} figure @param {number[]} row */
function pose(figure, row) {
  const parts = [[0, 0, 0]];
  for (const part of figure.parts.slice(1)) {
    const above = parts[part.parent];
    let [x, y] = fixed(above, part.at);
    let angle = above[2];
    for (const joint of part.joints) {
      const moved = row[joint.q] - joint.zero;
      if (joint.slide) {
        const [dx, dy] = turned(joint.slide, angle);
        [x, y] = [x + dx * moved, y + dy * moved];
      } else {
        const before = turned(joint.hinge, angle);
        angle += joint.sign * moved;
        const after = turned(joint.hinge, angle);
        [x, y] = [x + before[0] - after[0], y + before[1] - after[1]];
      }
    }
    parts.push([x, y, angle]);
  }
  return parts;
}

/** @param {number[]} vector @param {number} angle */
function turned([x, y], angle) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [x * cos - y * sin, x * sin + y * cos];
}

/** A point that is fixed to a part, in the world. @param {number[]} part @param {number[]} at */
function fixed([x, y, angle], at) {
  const [dx, dy] = turned(at, angle);
  return [x + dx, y + dy];
}

/** @param {number[][]} way */
function smoothed(way) {
  return way.map((_, i) => {
    const reach = Math.min(SMOOTH, i, way.length - 1 - i);
    const near = way.slice(i - reach, i + reach + 1);
    return [0, 1].map((axis) => near.reduce((sum, point) => sum + point[axis], 0) / near.length);
  });
}

/** @param {CanvasRenderingContext2D} context @param {Shape} shape */
function paint(context, shape) {
  if (shape[0] === "band") {
    const [, left, top, right, bottom, colour] = shape;
    context.fillStyle = colour;
    context.fillRect(left, top, right - left, bottom - top);
  } else if (shape[0] === "line") {
    const [, x0, y0, x1, y1, width, colour] = shape;
    Object.assign(context, { strokeStyle: colour, lineWidth: width, lineCap: "round" });
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  } else {
    const [, x, y, radius, colour] = shape;
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  }
}

/** Whether the page writes light on dark where the canvas stands. @param {Element} element */
function isDark(element) {
  const colour = element.isConnected ? getComputedStyle(element).color : "";
  const parts = colour.match(/[\d.]+/g)?.map(Number);
  if (!parts || parts.length < 3) return matchMedia("(prefers-color-scheme: dark)").matches;
  return 0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2] > 128;
}
