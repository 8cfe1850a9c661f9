#!/bin/sh
# Builds echarts.min.js: Apache ECharts with only the charts and components that the reports use.
# Needs npm. Run it by hand after changing entry.js or the version, and commit what it writes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund echarts@6.1.0 esbuild@0.25
cp "$here/entry.js" entry.js
npx esbuild entry.js --bundle --minify --format=iife --global-name=echarts --target=es2019 \
  --legal-comments=inline --charset=utf8 --outfile=echarts.min.js
cp echarts.min.js "$here/echarts.min.js"
cp node_modules/echarts/LICENSE "$here/LICENSE"
cp node_modules/echarts/NOTICE "$here/NOTICE"
cp node_modules/echarts/licenses/LICENSE-d3 "$here/LICENSE-d3"
cp node_modules/zrender/LICENSE "$here/LICENSE-zrender"
